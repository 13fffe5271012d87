"""Signatures of stored code."""

from hanabi.control.code_signing.signatures import NoSignatures


async def test_nothing_is_signed() -> None:
    assert await NoSignatures().find("x") is None
