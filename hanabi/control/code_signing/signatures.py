"""Signatures of stored code packages, checked against the signing profiles of this host."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile

from hanabi.base.clock import Clock
from hanabi.control.code_signing.code_admission import CodeSignature
from hanabi.errors import InvalidCodeSignature
from hanabi.images.code.signed_zip import digest_zip, read_signature
from hanabi.images.code.signing_keys import SigningProfiles


class NoSignatures:
    """No code is signed: there is no signing profile on this host."""

    async def find(self, sha256: str) -> CodeSignature | None:
        return None


class ZipSignatures:
    """Signatures within zips. `zip_path` returns where a stored zip is."""

    def __init__(self, zip_path: Callable[[str], Path], profiles: SigningProfiles, clock: Clock) -> None:
        self._zip_path = zip_path
        self._profiles = profiles
        self._clock = clock

    async def find(self, sha256: str) -> CodeSignature | None:
        return await asyncio.to_thread(self._find, self._zip_path(sha256))

    def _find(self, path: Path) -> CodeSignature | None:
        try:
            signature = read_signature(path)
            profile = self._profiles.find(signature.profile) if signature else None
            if signature is None or profile is None:
                return None  # not signed, or by nobody who is known here
            signature.check(profile.certificate, digest_zip(path))
        except (BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
            raise InvalidCodeSignature(f"the zip cannot be read: {error}") from None
        expired = signature.expires < self._clock.time()
        return CodeSignature(signature.profile, signature.job, "its signature has expired" if expired else "")
