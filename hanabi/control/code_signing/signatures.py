"""Signatures of stored code packages."""

from hanabi.control.code_signing.admission import Signature


class NoSignatures:
    """No code is signed: there is no signing profile on this host."""

    async def find(self, sha256: str) -> Signature | None:
        return None
