"""Signed code packages: a signature within the zip, in the form of AWS Signer's for the platform AWSLambda-SHA384-ECDSA.

The file META_INF/aws_signer_signature_v1.0.SF is a CMS SignedData in PEM, detached, ECDSA P-384 with SHA-384. It signs the SHA-384 of the
names and contents of all other entries in their order. Nothing marks there where a name or a content ends, so there is one attribute of
Hanabi's own besides AWS's, which does, and which is checked as well.
"""

import base64
import hashlib
import stat
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hanabi.errors import InvalidCodeSignature
from hanabi.images.code import der

DIRECTORY = "META_INF/"
SIGNATURE = f"{DIRECTORY}aws_signer_signature_v1.0.SF"
SIGNATURE_BYTES = 1 << 20  # of a signature that is read at all
_PIECE_BYTES = 1 << 20
_DATA, _SIGNED_DATA = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2"
_CONTENT_TYPE, _DIGEST, _SIGNED_AT = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4", "1.2.840.113549.1.9.5"
_JOB, _EXPIRY, _PROFILE = "1.3.187.137.1.2", "1.3.187.137.1.3", "1.3.187.137.1.4"  # AWS Signer's
_FRAMED = "2.25.214830427115914620383962418405511873109"  # Hanabi's
_SHA384, _ECDSA_SHA384 = "2.16.840.1.101.3.4.2.2", "1.2.840.10045.4.3.3"
_BEGIN, _END = "-----BEGIN PKCS7-----", "-----END PKCS7-----"
_TIME = "%Y%m%d%H%M%SZ"


@dataclass(frozen=True, slots=True)
class ZipDigests:
    """The hashes of what is in a zip but for its signature."""

    content: bytes  # as AWS Signer makes it
    framed: bytes  # with the length of each name and content, and its mode


@dataclass(frozen=True, slots=True)
class ZipSignature:
    """A signature as it says of itself: nothing of it is true before `check`."""

    profile: str  # the ARN of the version of the signing profile
    job: str
    expires: float  # Unix s
    digests: ZipDigests
    signed: bytes  # the attributes, as they are signed
    signature: bytes

    def check(self, certificate: bytes, digests: ZipDigests) -> None:
        """Check that the certificate's key has signed exactly what is in the zip. Raises `InvalidCodeSignature`."""
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA384

        key = x509.load_pem_x509_certificate(certificate).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            key.verify(self.signature, self.signed, ec.ECDSA(SHA384()))
        except InvalidSignature:
            raise InvalidCodeSignature("the signature is not that of its profile's key") from None
        if digests != self.digests:
            raise InvalidCodeSignature("the code is not what was signed")


def read_signature(path: Path) -> ZipSignature | None:
    """Read the signature of a zip; None: it has none of the form that is known here. Blocks."""
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename == SIGNATURE]
        if len(entries) != 1 or entries[0].file_size > SIGNATURE_BYTES:
            return None
        text = archive.read(entries[0])
    try:
        return _parse(text.decode("ascii"))
    except (ValueError, OverflowError):
        return None


def digest_zip(path: Path) -> ZipDigests:
    """Hash what is in a zip. Blocks. Raises `InvalidCodeSignature` for one with two entries of one name."""
    content, framed = hashlib.sha384(), hashlib.sha384()
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise InvalidCodeSignature("there are two entries of one name")
        for entry in entries:
            if entry.filename != SIGNATURE:
                name = entry.filename.encode()
                content.update(name)
                framed.update(b"%d %d %d " % (len(name), entry.file_size, entry.external_attr >> 16) + name)
                with archive.open(entry) as file:
                    while piece := file.read(_PIECE_BYTES):
                        content.update(piece)
                        framed.update(piece)
    return ZipDigests(hashlib.sha384(content.digest()).digest(), framed.digest())


def sign_zip(source: Path, target: Path, key: bytes, certificate: bytes, *, profile: str, job: str, now: float, expires: float) -> None:
    """Write a signed copy of a zip. `key` and `certificate` are PEM. Blocks. Raises `ValueError` for a zip that has a signature."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA384
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    private, cert = load_pem_private_key(key, None), x509.load_pem_x509_certificate(certificate)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        names = old.namelist()
        if SIGNATURE in names:
            raise ValueError(f"{source} has a signature already")
        for entry in old.infolist():
            with old.open(entry) as reader, new.open(entry, "w") as writer:
                while piece := reader.read(_PIECE_BYTES):
                    writer.write(piece)
        if DIRECTORY not in names:
            directory = zipfile.ZipInfo(DIRECTORY)
            directory.external_attr = (stat.S_IFDIR | 0o755) << 16
            new.writestr(directory, b"")
    attributes = _write_attributes(digest_zip(target), profile, job, now, expires)
    signature = private.sign(attributes, ec.ECDSA(SHA384()))
    algorithm = der.write(der.SEQUENCE, der.write_oid(_SHA384))
    signer = der.write(
        der.SEQUENCE,
        der.write_integer(1),
        der.write(der.SEQUENCE, cert.issuer.public_bytes(), der.write_integer(cert.serial_number)),
        algorithm,
        der.write(der.CONTEXT_0, der.read_one(attributes, der.SET)),
        der.write(der.SEQUENCE, der.write_oid(_ECDSA_SHA384)),
        der.write(der.OCTETS, signature),
    )
    signed_data = der.write(
        der.SEQUENCE,
        der.write_integer(1),
        der.write_set(algorithm),
        der.write(der.SEQUENCE, der.write_oid(_DATA)),
        der.write(der.CONTEXT_0, cert.public_bytes(Encoding.DER)),
        der.write_set(signer),
    )
    whole = der.write(der.SEQUENCE, der.write_oid(_SIGNED_DATA), der.write(der.CONTEXT_0, signed_data))
    encoded = base64.b64encode(whole).decode()
    lines = [_BEGIN, *(encoded[at : at + 64] for at in range(0, len(encoded), 64)), _END, ""]
    with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as new:
        entry = zipfile.ZipInfo(SIGNATURE)
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        new.writestr(entry, "\n".join(lines))


def _write_attributes(digests: ZipDigests, profile: str, job: str, now: float, expires: float) -> bytes:
    values = {
        _CONTENT_TYPE: der.write_oid(_DATA),
        _DIGEST: der.write(der.OCTETS, digests.content),
        _SIGNED_AT: _write_time(now),
        _EXPIRY: _write_time(expires),
        _JOB: der.write(der.UTF8, job.encode()),
        _PROFILE: der.write(der.UTF8, profile.encode()),
        _FRAMED: der.write(der.OCTETS, digests.framed),
    }
    return der.write_set(*(der.write(der.SEQUENCE, der.write_oid(name), der.write_set(value)) for name, value in values.items()))


def _write_time(unix_s: float) -> bytes:
    return der.write(der.TIME, datetime.fromtimestamp(int(unix_s), UTC).strftime(_TIME).encode())


def _parse(text: str) -> ZipSignature:
    """Parse a signature. Raises `ValueError`."""
    body = text.strip().removeprefix(_BEGIN).removesuffix(_END)
    whole = base64.b64decode("".join(body.split()), validate=True)
    _, content = der.read_all(der.read_one(whole, der.SEQUENCE), der.OID, der.CONTEXT_0)
    parts = der.read_all(der.read_one(content, der.SEQUENCE), der.INTEGER, der.SET, der.SEQUENCE, der.CONTEXT_0, der.SET)
    signer = der.read_one(parts[4], der.SEQUENCE)
    kinds = (der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.CONTEXT_0, der.SEQUENCE, der.OCTETS)
    *_, attributes, _, signature = der.read_all(signer, *kinds)
    found: dict[bytes, bytes] = {}
    for tag, attribute, _ in der.read(attributes):
        name, values = der.read_all(attribute, der.OID, der.SET)
        if tag != der.SEQUENCE or name in found:
            raise ValueError("an attribute that cannot be")
        found[name] = values

    def value(name: str, tag: int) -> Any:
        values = found.get(der.read_one(der.write_oid(name), der.OID))
        if values is None:
            raise ValueError(f"there is no attribute {name}")
        return der.read_one(values, tag)

    return ZipSignature(
        profile=value(_PROFILE, der.UTF8).decode(),
        job=value(_JOB, der.UTF8).decode(),
        expires=datetime.strptime(value(_EXPIRY, der.TIME).decode(), _TIME).replace(tzinfo=UTC).timestamp(),
        digests=ZipDigests(value(_DIGEST, der.OCTETS), value(_FRAMED, der.OCTETS)),
        signed=der.write(der.SET, attributes),
        signature=signature,
    )
