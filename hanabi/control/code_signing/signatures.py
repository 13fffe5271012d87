"""Signatures of stored code packages."""

from hanabi.control.code_signing.code_admission import CodeSignature


class NoSignatures:
    """No code is signed: there is no signing profile on this host."""

    async def find(self, sha256: str) -> CodeSignature | None:
        return None
