"""What a code signing configuration lets through."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.health import Health
from hanabi.control.code_signing.code_admission import WARNINGS, CodeAdmission, CodeSignature
from hanabi.control.code_signing.configs import CodeSigningConfigs
from hanabi.errors import CodeSigningConfigNotFound, CodeVerificationFailed, InvalidCodeSignature
from tests.unit.control.code_signing.test_configs import PROFILE, PUBLISHERS
from tests.unit.control.support import open_plane

VERSION = f"{PROFILE}/v1"


class Signed:
    """Signatures that are known."""

    def __init__(self) -> None:
        self.known = {
            "signed": CodeSignature(VERSION, "job"),
            "old": CodeSignature(VERSION, "job", "its signature has expired"),
            "others": CodeSignature(f"{PROFILE}-too/v1", "job"),
        }

    async def find(self, sha256: str) -> CodeSignature | None:
        if sha256 == "broken":
            raise InvalidCodeSignature("broken")
        return self.known.get(sha256)


@pytest.fixture
async def configs(tmp_path: Path) -> AsyncIterator[CodeSigningConfigs]:
    async with open_plane(tmp_path) as plane:
        yield plane.control.code_signing


async def make(configs: CodeSigningConfigs, policy: str, **changes: Any) -> tuple[CodeAdmission, str, Health]:
    health = Health()
    made = await configs.create({**PUBLISHERS, "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": policy}, **changes})
    return CodeAdmission(configs, Signed(), health), configs.arn(made.id), health


async def test_enforce(configs: CodeSigningConfigs) -> None:
    admission, arn, health = await make(configs, "Enforce")
    assert await admission.admit(arn, "f", "signed") == CodeSignature(VERSION, "job")
    for sha256 in ("unsigned", "old", "others"):
        with pytest.raises(CodeVerificationFailed, match="Lambda cannot deploy the function. .* Check the provided signature for f."):
            await admission.admit(arn, "f", sha256)
    assert health.values()[WARNINGS] == 0


async def test_warn(configs: CodeSigningConfigs, caplog: pytest.LogCaptureFixture) -> None:
    admission, arn, health = await make(configs, "Warn")
    assert await admission.admit(arn, "f", "signed") is not None
    for sha256, why in (("unsigned", "it is not signed"), ("old", "has expired"), ("others", "is not an allowed publisher")):
        assert await admission.admit(arn, "f", sha256) is None
        assert why in caplog.messages[-1]
    assert health.values()[WARNINGS] == 3


@pytest.mark.parametrize("policy", ["Warn", "Enforce"])
async def test_code_that_was_changed_is_refused_whatever_the_policy_is(configs: CodeSigningConfigs, policy: str) -> None:
    admission, arn, _ = await make(configs, policy)
    with pytest.raises(InvalidCodeSignature, match="failed the integrity check"):
        await admission.admit(arn, "f", "broken")


async def test_one_version_of_a_profile_or_all(configs: CodeSigningConfigs) -> None:
    publishers = {"SigningProfileVersionArns": [f"{PROFILE}/v2"]}
    admission, arn, _ = await make(configs, "Enforce", AllowedPublishers=publishers)
    with pytest.raises(CodeVerificationFailed):
        await admission.admit(arn, "f", "signed")


async def test_without_its_configuration_nothing_is_let_through(configs: CodeSigningConfigs) -> None:
    admission, arn, _ = await make(configs, "Warn")
    await configs.delete(arn, lambda: [])
    with pytest.raises(CodeSigningConfigNotFound):
        await admission.admit(arn, "f", "signed")
