"""Signatures of stored code."""

from pathlib import Path

import pytest

from hanabi.control.code_signing.signatures import NoSignatures, ZipSignatures
from hanabi.errors import InvalidCodeSignature
from hanabi.images.code.signed_zip import sign_zip
from hanabi.images.code.signing_keys import SigningProfiles
from hanabi.testing import ManualClock
from tests.server import zip_of


async def test_nothing_is_signed() -> None:
    assert await NoSignatures().find("x") is None


async def test_zips(tmp_path: Path) -> None:
    clock, profiles = ManualClock(), SigningProfiles(tmp_path)
    profile = profiles.create("release", "000000000000", "us-east-1")
    signatures = ZipSignatures(lambda sha256: tmp_path / sha256, profiles, clock)
    (tmp_path / "plain").write_bytes(zip_of({"app.py": "x"}))
    key, now = profile.key_path.read_bytes(), clock.time()
    sign_zip(
        tmp_path / "plain", tmp_path / "signed", key, profile.certificate, profile=profile.arn, job="job", now=now, expires=now + 60
    )  # fmt: skip
    assert await signatures.find("plain") is None
    found = await signatures.find("signed")
    assert found is not None and (found.profile, found.job, found.fault) == (profile.arn, "job", "")
    await clock.advance(61)
    found = await signatures.find("signed")
    assert found is not None and found.fault == "its signature has expired"
    (tmp_path / "damaged").write_bytes((tmp_path / "signed").read_bytes()[:-30])
    with pytest.raises(InvalidCodeSignature):
        await signatures.find("damaged")
    profiles.revoke("release")
    assert await signatures.find("signed") is None
