"""Signed code packages: what is signed, and what is seen of every change."""

import random
import subprocess
import zipfile
from pathlib import Path

import pytest

from hanabi.errors import InvalidCodeSignature
from hanabi.images.code.signed_zip import DIRECTORY, SIGNATURE, digest_zip, read_signature, sign_zip
from hanabi.images.code.signing_keys import SigningProfile, SigningProfiles
from tests.server import zip_of

FILES: dict[str, str | bytes] = {"app.py": "def handler(e, c): return e", "lib/": "", "lib/data.txt": "AB" * 1000}


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> SigningProfile:
    return SigningProfiles(tmp_path_factory.mktemp("profiles")).create("release", "000000000000", "us-east-1")


@pytest.fixture
def signed(tmp_path: Path, profile: SigningProfile) -> Path:
    source, target = tmp_path / "code.zip", tmp_path / "signed.zip"
    source.write_bytes(zip_of(FILES, executable=["app.py"]))
    key = profile.key_path.read_bytes()
    sign_zip(source, target, key, profile.certificate, profile=profile.arn, job="job", now=1_790_000_000, expires=1_800_000_000)
    return target


def check(path: Path, profile: SigningProfile) -> None:
    signature = read_signature(path)
    assert signature is not None
    signature.check(profile.certificate, digest_zip(path))


def rewrite(path: Path, change: dict[str, bytes | None], order: int = 1, mode: int | None = None) -> Path:
    """The same zip with other contents: None takes an entry out."""
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist()[::order]:
            content = change.get(entry.filename, old.read(entry))
            if mode is not None and entry.filename == "app.py":
                entry.external_attr = mode << 16
            if content is not None:
                new.writestr(entry, content)
        for name in change.keys() - set(old.namelist()):
            new.writestr(name, change[name] or b"")
    return target


def test_what_is_signed_is_checked(signed: Path, profile: SigningProfile) -> None:
    check(signed, profile)
    signature = read_signature(signed)
    assert signature is not None and (signature.profile, signature.job, signature.expires) == (profile.arn, "job", 1_800_000_000)
    with zipfile.ZipFile(signed) as archive:
        assert {*FILES, DIRECTORY, SIGNATURE} == set(archive.namelist())
        assert archive.getinfo("app.py").external_attr >> 16 & 0o111
        assert archive.read(SIGNATURE).startswith(b"-----BEGIN PKCS7-----\n")
    check(rewrite(signed, {}), profile)  # compressed otherwise: that is not signed


def test_openssl_reads_it_too(signed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(signed) as archive:
        (tmp_path / "signature").write_bytes(archive.read(SIGNATURE))
    command = ["openssl", "cms", "-cmsout", "-print", "-inform", "PEM", "-in", str(tmp_path / "signature")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no openssl on this host")
    assert done.returncode == 0 and "ecdsa-with-SHA384" in done.stdout and "messageDigest" in done.stdout, done.stderr


def test_every_change_is_seen(signed: Path, profile: SigningProfile) -> None:
    changes: list[dict[str, bytes | None]] = [
        {"app.py": b"def handler(e, c): return 1"},
        {"app.py": None},
        {"new.py": b""},
        {"lib/data.txt": b"A", "lib/B" + "AB" * 20: b"AB" * 979},  # what the names and contents together are stays the same
        {"lib/": None},
    ]
    for change in changes:
        with pytest.raises(InvalidCodeSignature, match="the code is not what was signed"):
            check(rewrite(signed, change), profile)
    for changed in (rewrite(signed, {}, order=-1), rewrite(signed, {}, mode=0o100644)):
        with pytest.raises(InvalidCodeSignature):
            check(changed, profile)


def test_another_key_or_another_attribute(signed: Path, profile: SigningProfile, tmp_path: Path) -> None:
    other = SigningProfiles(tmp_path / "others").create("release", "000000000000", "us-east-1")
    with pytest.raises(InvalidCodeSignature, match="is not that of its profile's key"):
        check(signed, other)
    with zipfile.ZipFile(signed) as archive:
        text = archive.read(SIGNATURE)
    dice, seen = random.Random(7), 0
    for _ in range(300):
        damaged = bytearray(text)
        damaged[dice.randrange(30, len(text) - 30)] = dice.choice(b"ABCDEFxyz019+/")
        if bytes(damaged) == text:
            continue
        signature = read_signature(rewrite(signed, {SIGNATURE: bytes(damaged)}))
        if signature is None:
            seen += 1
            continue
        try:
            signature.check(profile.certificate, digest_zip(signed))
        except InvalidCodeSignature:
            seen += 1
        else:  # in what is not signed: the certificate that comes along, which is not believed
            original = read_signature(signed)
            assert original is not None and signature.signed == original.signed
    assert seen > 100


def test_what_has_no_signature(tmp_path: Path, signed: Path, profile: SigningProfile) -> None:
    plain = tmp_path / "plain.zip"
    for files in (FILES, {**FILES, SIGNATURE: "nothing"}, {**FILES, SIGNATURE: b"\xff"}, {**FILES, SIGNATURE: b"A" * (2 << 20)}):
        plain.write_bytes(zip_of(files))
        assert read_signature(plain) is None
    with pytest.raises(ValueError, match="has a signature already"):
        sign_zip(
            signed, tmp_path / "twice.zip", profile.key_path.read_bytes(), profile.certificate, profile="p", job="j", now=0, expires=0
        )  # fmt: skip
    with zipfile.ZipFile(plain, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    with pytest.raises(InvalidCodeSignature, match="two entries of one name"):
        digest_zip(plain)
