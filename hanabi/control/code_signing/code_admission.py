"""Admission of code: whether a function's code signing configuration accepts the signature of a code package."""

import logging
from dataclasses import dataclass
from typing import Protocol

from hanabi.base.health import Health
from hanabi.control.code_signing.configs import CodeSigningConfigs
from hanabi.control.code_signing.model import ENFORCE, CodeSigningConfig
from hanabi.errors import CodeVerificationFailed, InvalidCodeSignature

log = logging.getLogger(__name__)
WARNINGS = "hanabi_signature_validation_errors_total"


@dataclass(frozen=True, slots=True)
class CodeSignature:
    """The signature of a code package that is what was signed."""

    profile: str  # the ARN of the version of the signing profile
    job: str  # the ARN of the signing job
    fault: str = ""  # why it counts no longer, although it is genuine: it has expired, or was revoked


class Signatures(Protocol):
    async def find(self, sha256: str) -> CodeSignature | None:
        """Return the signature of a stored code package; None: it has none that can be checked here.

        Raises `InvalidCodeSignature` for code that was changed after it was signed.
        """


class CodeAdmission:
    """The admission, at every deployment of a function with a code signing configuration."""

    def __init__(self, configs: CodeSigningConfigs, signatures: Signatures, health: Health) -> None:
        self.require = configs.require
        self._signatures = signatures
        self._warnings = health.counter(WARNINGS, "Deployments whose signature was not accepted, let through by the policy Warn.")

    async def admit(self, config_arn: str, what: str, sha256: str) -> CodeSignature | None:
        """Check a code package, `what` for people. Returns its signature, if that is one that the configuration accepts.

        Raises `CodeSigningConfigNotFound`, `InvalidCodeSignature` whatever the policy is, and `CodeVerificationFailed` with Enforce.
        """
        config = self.require(config_arn)
        try:
            signature = await self._signatures.find(sha256)
        except InvalidCodeSignature:
            raise InvalidCodeSignature(f"The code signature of {what} failed the integrity check.") from None
        fault = _find_fault(config, signature)
        if not fault:
            return signature
        if config.policy == ENFORCE:
            raise CodeVerificationFailed(
                "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not "
                f"configured to accept. Check the provided signature for {what}."
            )
        log.warning("%s is deployed though %s: the policy of %s is Warn", what, fault, config_arn)
        self._warnings.add()
        return None


def _find_fault(config: CodeSigningConfig, signature: CodeSignature | None) -> str:
    """Return what is wrong with a signature; empty: nothing."""
    if signature is None:
        return "it is not signed"
    if not any(names_profile(publisher, signature.profile) for publisher in config.publishers):
        return f"it is signed by {signature.profile}, which is not an allowed publisher"
    return signature.fault


def names_profile(publisher: str, profile: str) -> bool:
    """Whether an allowed publisher names the version of a profile: itself, or the profile with all its versions."""
    return publisher == profile or publisher == profile.rpartition("/")[0]
