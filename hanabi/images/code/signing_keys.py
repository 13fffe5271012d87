"""The signing profiles of a data directory: who signs code, each a key pair.

`signing-profiles/<name>/<version>.json` has the ARN and the certificate, `<version>.key` (0600) the private key, which may be moved to
where code is signed. A version that is removed is revoked: what it has signed counts as unsigned.
"""

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hanabi.base.files import write_whole

PLACE = "signing-profiles"
VALID_MONTHS = 135  # AWS Signer API reference, "PutSigningProfile": signatureValidityPeriod, the default
_NAME = re.compile(r"[a-zA-Z0-9_]{2,64}", re.ASCII)
_VERSION = re.compile(r"[a-zA-Z0-9]{10}", re.ASCII)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class SigningProfile:
    """One version of a signing profile."""

    arn: str
    certificate: bytes  # PEM
    key_path: Path


class SigningProfiles:
    """The profiles. All methods block briefly."""

    def __init__(self, data_directory: Path) -> None:
        self._directory = data_directory / PLACE

    def create(self, name: str, account: str, region: str) -> SigningProfile:
        """Make a new version of a profile, with a key of its own. Raises `ValueError`, `OSError`."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA384
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a signing profile: 2 to 64 letters, digits and _")
        version = "".join(secrets.choice(_LETTERS) for _ in range(10))
        arn = f"arn:aws:signer:{region}:{account}:/signing-profiles/{name}/{version}"
        key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Hanabi signing profile {name}")])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=366 * 30))
            .sign(key, SHA384())
        )
        place = self._directory / name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        profile = SigningProfile(arn, made.public_bytes(Encoding.PEM), place / f"{version}.key")
        write_whole(profile.key_path, secret)
        write_whole(place / f"{version}.json", json.dumps({"arn": arn, "certificate": profile.certificate.decode()}))
        return profile

    def find(self, arn: str) -> SigningProfile | None:
        """Find a version by its ARN. None: there is none, or it was revoked, or its file is damaged."""
        name, _, version = arn.rpartition(":/signing-profiles/")[2].partition("/")
        if not (_NAME.fullmatch(name) and _VERSION.fullmatch(version)):
            return None
        profile = self._read(self._directory / name / f"{version}.json")
        return profile if profile is not None and profile.arn == arn else None

    def newest(self, name: str) -> SigningProfile | None:
        """Return the newest version of a profile."""
        if not _NAME.fullmatch(name):
            return None
        files = sorted((self._directory / name).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        return self._read(files[-1]) if files else None

    def __iter__(self) -> Iterator[SigningProfile]:
        for path in sorted(self._directory.glob("*/*.json")):
            if (profile := self._read(path)) is not None:
                yield profile

    def revoke(self, name: str, version: str = "") -> bool:
        """Remove a version of a profile, or all. False: there is none."""
        if not _NAME.fullmatch(name) or (version and not _VERSION.fullmatch(version)):
            return False
        place = self._directory / name
        if not version:
            found = place.is_dir()
            shutil.rmtree(place, ignore_errors=True)
            return found
        found = (place / f"{version}.json").exists()
        for path in (place / f"{version}.json", place / f"{version}.key"):
            path.unlink(missing_ok=True)
        return found

    def _read(self, path: Path) -> SigningProfile | None:
        try:
            document = json.loads(path.read_bytes())
            return SigningProfile(str(document["arn"]), str(document["certificate"]).encode(), path.with_suffix(".key"))
        except (OSError, ValueError, LookupError, TypeError):
            return None
