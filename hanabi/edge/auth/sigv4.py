"""AWS Signature Version 4, verified: in the Authorization header or in the query (presigned)."""

import asyncio
import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.regions import regions
from hanabi.edge.auth.keys import Key, KeyRing
from hanabi.errors import ExpiredToken, IncompleteSignature, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient
from hanabi.quotas import PRESIGNED_MAX_S, SIGNATURE_SKEW_S

ALGORITHM = "AWS4-HMAC-SHA256"
HASH_INLINE_BYTES = 256 * 1024  # a larger body is hashed off the loop (0.5 ms a MiB, and hashlib lets go of the GIL)

_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+|/")
_CREDENTIAL_END = re.compile(r"[,\s]")
_BETWEEN_FIELDS = re.compile(r"[,\s]+")
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9._~-]*")
_BLANK = " \t"
_SPACES = re.compile("  +")
_QUERY_PARTS = 1000
_TOKEN_INVALID = "The security token included in the request is invalid."
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


class SignatureClaim(NamedTuple):
    """The access key and scope that a signature states."""

    access_key: str
    day: str
    region: str
    service: str
    terminator: str
    signed_headers: str  # "host;x-amz-date"
    names: tuple[str, ...]  # the same
    scope: str  # "day/region/service/terminator"
    lines: str  # "host:%s\nx-amz-date:%s\n": the names as they are signed
    pick: Callable[[dict[str, str]], str | tuple[str, ...]]  # their values


class Signature(NamedTuple):
    """One request's signature, from either place."""

    claim: SignatureClaim
    value: str
    timestamp: str  # YYYYMMDDTHHMMSSZ
    token: str
    expires_s: int | None  # of a presigned request
    query: str  # the raw query that was signed
    new: str = ""  # the Authorization text before a signature whose claim had to be read
    known: bool = False  # the claim is of a request that was verified before


_complete: set[tuple[str, ...]] = set()  # (what is signed, names of headers) of which none is missing, bounded
_COMPLETE_CHARS = 2048
_said: dict[str, tuple[str, str]] = {}  # what `find_signature_claim` makes of the Authorization text before the signature, bounded
_SAID_CHARS = 512


def find_signature_claim(request: HttpRequest) -> tuple[str, str]:
    """Return the (access key, service) that a request states, unverified; empty texts if it states none."""
    authorization = request.header("authorization")
    if authorization.startswith("AWS4-"):
        text = authorization.rpartition("Signature=")[0]
        if (found := _said.get(text)) is not None:
            return found
        credential = _CREDENTIAL_END.split(authorization.partition("Credential=")[2], maxsplit=1)[0]
        parts = credential.rsplit("/", 4)
        found = (parts[0], parts[3]) if len(parts) == 5 else ("", "")
        if len(text) <= _SAID_CHARS and _CREDENTIAL_END.search(text.partition("Credential=")[2]):  # it is in the text, whole
            if len(_said) >= 1024:
                _said.clear()
            _said[text] = found
        return found
    if "X-Amz-Credential=" in request.query:
        parts = unquote(request.query.partition("X-Amz-Credential=")[2].partition("&")[0][:1024]).rsplit("/", 4)
        return (parts[0], parts[3]) if len(parts) == 5 else ("", "")
    return "", ""


class Verifier:
    """Checks requests against a key ring. They are signed for a region of AWS's, or for `region`, the node's default."""

    def __init__(self, keys: KeyRing, clock: Clock, region: str) -> None:
        self._regions = frozenset({region, *regions()})
        self._keys = keys
        self._clock = clock
        self._claims: dict[str, SignatureClaim] = {}  # by the Authorization text before the signature; of verified requests only
        self._times: dict[str, int] = {}
        self._paths: dict[str, str] = {}

    def knows(self, access_key: str) -> bool:
        """Whether an access key is one that may sign, before its signature is looked at."""
        return self._keys.lookup(access_key) is not None

    def is_root(self, access_key: str) -> bool:
        """Whether an access key is that of an account itself."""
        return self._keys.is_root(access_key)

    async def verify(self, request: HttpRequest, service: str, *, only: str | None = None) -> Principal:
        """Return who signed the request for `service`. With `only`, accept that access key alone. Raises `AuthenticationError`s."""
        body = request.body
        if type(body) is bytes and len(body) <= HASH_INLINE_BYTES:
            return self.verify_small(request, service, only)
        headers = _join_repeated(request.headers) if request.repeated else request.fields
        signature, key = self._check(request, headers, service, only)
        assert isinstance(body, bytes | Path)  # what is signed is no stream
        return self._compare(request, headers, signature, key, await hash_body(body))

    def verify_small(self, request: HttpRequest, service: str, only: str | None = None) -> Principal:
        """As `verify`, for a request whose body is at most HASH_INLINE_BYTES of bytes."""
        headers = _join_repeated(request.headers) if request.repeated else request.fields
        signature, key = self._check(request, headers, service, only)
        assert isinstance(request.body, bytes)
        return self._compare(request, headers, signature, key, hashlib.sha256(request.body).hexdigest())

    def _check(self, request: HttpRequest, headers: dict[str, str], service: str, only: str | None) -> tuple[Signature, Key]:
        """Check everything that does not need the body's hash. What is usual is seen here; what is not, where it is looked into."""
        signature = self._signature(request, headers)
        claim, _, stamp, token, expires_s, _, _, known = signature
        key = self._keys.lookup(claim.access_key)
        if key is None or only is not None or token or key.session_token or key.expires:
            key = self._check_key(key, token, only)
        if claim.scope != f"{stamp[:8]}/{claim.region}/{service}/aws4_request":
            self._check_scope(signature, service)
        if not known and claim.region not in self._regions:
            self._check_scope(signature, service)
        signed_at = self._times.get(stamp)
        if signed_at is None or expires_s is not None or abs(self._clock.time() - signed_at) > SIGNATURE_SKEW_S:
            self._check_time(signature)
        if (claim.signed_headers, *headers) not in _complete:
            check_unsigned(headers, claim)
        return signature, key

    def _compare(self, request: HttpRequest, headers: dict[str, str], signature: Signature, key: Key, digest: str) -> Principal:
        """Compare the signatures. Results are not cached: a repeated signature is checked again."""
        claim, value, stamp, _, _, query, new, _ = signature
        if headers.get("x-amz-content-sha256", digest) != digest:  # of another body, or UNSIGNED-PAYLOAD, which is for S3
            raise InvalidSignature(_MISMATCH)
        path = self._paths.get(request.path) or self._canonical_path(request.path)
        canonical = (
            f"{request.method}\n{path}\n{canonical_query(query) if query else ''}\n{canonical_headers(headers, claim)}\n"
            f"{claim.signed_headers}\n{digest}"
        )
        hashed = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        inside, outside = key.signing.get(claim.scope) or derive_key(key, claim)
        inner, outer = inside.copy(), outside.copy()
        inner.update(f"{ALGORITHM}\n{stamp}\n{claim.scope}\n{hashed}".encode())
        outer.update(inner.digest())
        if not (value.isascii() and hmac.compare_digest(outer.hexdigest(), value)):
            raise InvalidSignature(_MISMATCH)
        if new:
            if len(self._claims) >= 1024:
                self._claims.clear()
            self._claims[new] = claim
        request.verified, request.account, request.region = True, key.principal.account, claim.region
        return key.principal

    # --- what the request says ----------------------------------------------------------------------------------------

    def _signature(self, request: HttpRequest, headers: dict[str, str]) -> Signature:
        authorization, query = headers.get("authorization"), request.query
        presigned = "X-Amz-" in query and _is_presigned(query)
        if not authorization:
            if not presigned:
                raise MissingAuthenticationToken("Missing Authentication Token")
            return _read_presigned(request, headers)
        if presigned:  # which of the two would count?
            raise InvalidSignature(_MISMATCH)
        text, _, value = authorization.rpartition("Signature=")
        stamp = headers.get("x-amz-date", "")
        token = headers.get("x-amz-security-token", "")
        claim = self._claims.get(text)
        if claim is not None and stamp:
            return Signature(claim, value, stamp, token, None, query, "", True)
        claim, signed, stamp = _read_authorization(headers, authorization)
        return Signature(claim, signed, stamp, token, None, query, text if signed == value else "")

    # --- whether it holds ---------------------------------------------------------------------------------------------

    def _check_key(self, key: Key | None, token: str, only: str | None) -> Key:
        if key is None or (only is not None and key.access_key != only):
            raise UnrecognizedClient(_TOKEN_INVALID)
        if (token or key.session_token) and not hmac.compare_digest(key.session_token.encode(), token.encode("latin-1")):
            raise UnrecognizedClient(_TOKEN_INVALID)
        if key.expires and key.expires <= self._clock.time():
            raise ExpiredToken("The security token included in the request is expired")
        return key

    def _check_scope(self, signature: Signature, service: str) -> None:
        claim = signature.claim
        day = signature.timestamp[:8]
        wrong = []
        if claim.region not in self._regions:
            wrong.append(f"Credential should be scoped to a valid region, not '{claim.region}'. ")
        if claim.service != service:
            wrong.append(f"Credential should be scoped to correct service: '{service}'. ")
        if claim.terminator != "aws4_request":
            wrong.append(f"Credential should be scoped with a valid terminator: 'aws4_request', not '{claim.terminator}'. ")
        if claim.day != day:
            wrong.append(
                f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{claim.day}' != '{day}', from '{signature.timestamp}'."
            )
        if wrong:
            raise InvalidSignature("".join(wrong))

    def _check_time(self, signature: Signature) -> None:
        stamp = signature.timestamp
        signed_at = self._times.get(stamp)
        if signed_at is None:
            signed_at = _parse_stamp(stamp)
            if len(self._times) >= 1024:
                self._times.clear()
            self._times[stamp] = signed_at
        now = self._clock.time()
        lifetime = SIGNATURE_SKEW_S if signature.expires_s is None else signature.expires_s
        if now - signed_at > lifetime:
            minutes = f"{lifetime // 60} min." if lifetime % 60 == 0 else f"{lifetime} sec."
            raise InvalidSignature(f"Signature expired: {stamp} is now earlier than {_stamp(now - lifetime)} ({_stamp(now)} - {minutes})")
        if signed_at - now > SIGNATURE_SKEW_S:
            latest, minutes = _stamp(now + SIGNATURE_SKEW_S), f"{SIGNATURE_SKEW_S // 60} min."
            raise InvalidSignature(f"Signature not yet current: {stamp} is still later than {latest} ({_stamp(now)} + {minutes})")

    def _canonical_path(self, path: str) -> str:
        canonical = self._paths.get(path)
        if canonical is None:
            canonical = canonical_path(path)
            if len(self._paths) >= 4096:
                self._paths.clear()
            if len(path) <= 1024:
                self._paths[path] = canonical
        return canonical


def _join_repeated(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Join repeated headers by commas, as they are signed. Those that Hanabi itself reads must not repeat."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value.strip(" \t"))
    for name, several in values.items():
        if len(several) > 1 and name == "authorization":
            raise _missing_equals(ALGORITHM, ",".join(several))
        if len(several) > 1 and (name == "host" or name.startswith("x-amz-")):
            raise InvalidSignature(_MISMATCH)
    return {name: ",".join(several) for name, several in values.items()}


def _missing_equals(part: str, authorization: str) -> IncompleteSignature:
    return IncompleteSignature(
        f"'{part[:200]}' not a valid key=value pair (missing equal-sign) in Authorization header: '{authorization[:1000]}'."
    )


def _read_authorization(headers: dict[str, str], authorization: str) -> tuple[SignatureClaim, str, str]:
    algorithm, _, rest = authorization.partition(" ")
    if algorithm != ALGORITHM and algorithm.startswith("AWS4-"):
        raise IncompleteSignature(f"Unsupported AWS 'algorithm': '{algorithm[:100]}'.")
    fields: dict[str, str] = {}
    for part in _BETWEEN_FIELDS.split(rest) if algorithm == ALGORITHM else ():
        name, equals, value = part.partition("=")
        if part and (not equals or name in fields):
            raise _missing_equals(part, authorization)
        fields[name] = value
    stamp = headers.get("x-amz-date", "")
    if not stamp and (date := headers.get("date")):
        try:
            stamp = time.strftime("%Y%m%dT%H%M%SZ", parsedate_to_datetime(date).utctimetuple())
        except (TypeError, ValueError):
            stamp = date
    missing = [
        f"Authorization header requires '{name}' parameter. "
        for name in ("Credential", "Signature", "SignedHeaders")
        if not fields.get(name)
    ]
    if not stamp:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    if missing or algorithm != ALGORITHM:
        raise IncompleteSignature(f"{''.join(missing)}Authorization={algorithm[:100]}")
    return _read_claim(fields["Credential"], fields["SignedHeaders"]), fields["Signature"], stamp


def _read_presigned(request: HttpRequest, headers: dict[str, str]) -> Signature:
    fields = _signature_fields(request.query)
    algorithm = fields.get("X-Amz-Algorithm", "")
    if algorithm and algorithm != ALGORITHM:
        raise IncompleteSignature(f"Unsupported AWS 'algorithm': '{algorithm[:100]}'.")
    required = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")
    missing = [f"AWS query-string parameters must include '{name}'. " for name in required if not fields.get(name)]
    if missing:
        raise IncompleteSignature("".join(missing) + "Re-examine the query-string parameters.")
    expires = fields.get("X-Amz-Expires", str(SIGNATURE_SKEW_S))
    if not (expires.isascii() and expires.isdigit() and 1 <= len(expires) <= 6 and 1 <= int(expires) <= PRESIGNED_MAX_S):
        raise IncompleteSignature(f"X-Amz-Expires must be a number between 1 and {PRESIGNED_MAX_S} seconds. Got '{expires[:20]}'.")
    claim = _read_claim(fields["X-Amz-Credential"], fields["X-Amz-SignedHeaders"])
    query = "&".join(part for part in request.query.split("&") if not part.startswith("X-Amz-Signature="))
    token = fields.get("X-Amz-Security-Token") or headers.get("x-amz-security-token", "")
    return Signature(claim, fields["X-Amz-Signature"], fields["X-Amz-Date"], token, int(expires), query)


def _read_claim(credential: str, signed_headers: str) -> SignatureClaim:
    try:
        access_key, day, region, service, terminator = credential.split("/")
    except ValueError:
        raise IncompleteSignature(
            f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential[:200]}'"
        ) from None
    names = signed_headers.split(";")
    if "host" not in names:
        raise InvalidSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    if names != sorted(set(names)):  # each once, in order, as every client writes them
        raise InvalidSignature(_MISMATCH)
    scope = f"{day}/{region}/{service}/{terminator}"
    lines = "".join(f"{name}:%s\n" for name in signed_headers.replace("%", "%%").split(";"))
    return SignatureClaim(access_key, day, region, service, terminator, signed_headers, tuple(names), scope, lines, itemgetter(*names))


def _is_presigned(query: str) -> bool:
    return any(part.startswith(("X-Amz-Algorithm=", "X-Amz-Signature=")) for part in query.split("&"))


def _signature_fields(query: str) -> dict[str, str]:
    """Read the `X-Amz-` fields of a presigned query. A repeated one is an error."""
    fields: dict[str, str] = {}
    for part in query.split("&"):
        if part.startswith("X-Amz-"):
            name, _, value = part.partition("=")
            if name in fields:
                raise InvalidSignature(_MISMATCH)
            fields[name] = unquote(value)
    return fields


# --- canonical forms --------------------------------------------------------------------------------------------------


def canonical_path(path: str) -> str:
    """Return the path as signed: dot segments and double slashes resolved, then encoded once more."""
    if _PLAIN_PATH.fullmatch(path):
        return path
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    normal = "/" + "/".join(segments) + ("/" if segments and path.endswith(("/", "/.", "/..")) else "")
    return quote(normal.encode("latin-1"), safe="/~")


def canonical_query(query: str) -> str:
    parts = query.split("&")
    if len(parts) > _QUERY_PARTS:
        raise IncompleteSignature(f"A signed query string has at most {_QUERY_PARTS} parameters")
    pairs = [(_encode(name), _encode(value)) for name, _, value in (part.partition("=") for part in parts if part)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encode(text: str) -> str:
    """Decode one part of a query and encode it as it is signed, byte for byte."""
    return text if _PLAIN_QUERY.fullmatch(text) else quote(unquote_to_bytes(text.encode("latin-1")), safe="~")


def check_unsigned(headers: dict[str, str], claim: SignatureClaim) -> None:
    """Raise `InvalidSignature` for an `x-amz-` header left out."""
    unsigned = headers.keys() - claim.names
    for name in unsigned:
        if name[:6] == "x-amz-":
            first = next(name for name in headers if name in unsigned and name[:6] == "x-amz-")
            raise InvalidSignature(f"'{first[:100]}' must be a 'SignedHeader' in the AWS Authorization.")
    names = (claim.signed_headers, *headers)
    if sum(map(len, names)) <= _COMPLETE_CHARS:
        if len(_complete) >= 1024:
            _complete.clear()
        _complete.add(names)


def canonical_headers(headers: dict[str, str], claim: SignatureClaim) -> str:
    """Return `name:value` lines in order, each with its line end."""
    try:
        lines = claim.lines % claim.pick(headers)
        if "  " not in lines and ": " not in lines and " \n" not in lines and "\t" not in lines:
            return lines
    except KeyError:
        pass  # one that is signed is not there
    lines = "".join([f"{name}:{headers.get(name, '').strip(_BLANK)}\n" for name in claim.names])
    return _SPACES.sub(" ", lines) if "  " in lines else lines


async def hash_body(body: bytes | Path) -> str:
    if isinstance(body, Path):
        return await asyncio.to_thread(_hash_file, body)
    if len(body) > HASH_INLINE_BYTES:
        return await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
    return hashlib.sha256(body).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive_key(key: Key, claim: SignatureClaim) -> "tuple[hashlib._Hash, hashlib._Hash]":
    """HMAC-SHA256 with the key derived for a claim's scope, inside and outside (RFC 2104), before its message."""
    derived = ("AWS4" + key.secret_key).encode()
    for part in (claim.day, claim.region, claim.service, "aws4_request"):
        derived = hmac.digest(derived, part.encode("latin-1"), "sha256")
    padded = derived.ljust(64, b"\0")
    states = (hashlib.sha256(bytes(each ^ 0x36 for each in padded)), hashlib.sha256(bytes(each ^ 0x5C for each in padded)))
    if len(key.signing) >= 16:
        key.signing.clear()
    key.signing[claim.scope] = states
    return states


def _parse_stamp(stamp: str) -> int:
    try:
        if len(stamp) != 16 or not stamp.isascii():
            raise ValueError(stamp)
        return calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise IncompleteSignature(
            f"Date must be in ISO-8601 'basic format'. Got '{stamp[:40]}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ) from None


def _stamp(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
