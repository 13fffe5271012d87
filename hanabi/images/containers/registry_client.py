"""A container registry as a source of one image, by the OCI distribution specification 1.1.

Callers check what a registry sends by digest and size. Tokens come by Docker's token
authentication, with the login of the Docker configuration.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, Protocol
from urllib.parse import urlencode
from urllib.request import parse_http_list

from hanabi.errors import ImageError
from hanabi.images.containers.manifests import DOCUMENT_LIMIT_BYTES, INDEXES, MANIFESTS, Descriptor
from hanabi.images.containers.reference import DOCKER_HUB, RegistryReference
from hanabi.images.containers.registry_credentials import Login, find_login
from hanabi.images.containers.registry_http import Transport

TOKEN_LIMIT_BYTES = 1 << 20  # bytes of a token service's answer
CHALLENGE_LIMIT_BYTES = 8 << 10  # characters

_ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
_PAIR = re.compile(r'([A-Za-z_]+)="?([^"]*)"?')


class Blob(Protocol):
    """A blob that is being read."""

    def read(self, size: int, /) -> bytes: ...


class Source(Protocol):
    """The source of one image."""

    def top(self) -> bytes:
        """Fetch the document that the reference names: an index or a manifest. Raises `ImageError`."""

    def document(self, descriptor: Descriptor) -> bytes:
        """Fetch another index or manifest."""

    @contextmanager
    def blob(self, descriptor: Descriptor, offset: int) -> Iterator[tuple[Blob, int]]:
        """Open a blob: (its bytes, their start: the requested offset, or 0)."""


class ImageRegistry:
    """A `Source`."""

    def __init__(self, reference: RegistryReference, transport: Transport) -> None:
        self._reference = reference
        self._transport = transport
        host = "registry-1.docker.io" if reference.host == DOCKER_HUB else reference.host
        self._base = f"{transport.base(host)}/v2/{reference.repository}"
        self._authorization = ""
        self._login: Login | None = None
        self._has_login = False

    def top(self) -> bytes:
        return self._manifest(self._reference.digest or self._reference.tag)

    def document(self, descriptor: Descriptor) -> bytes:
        return self._manifest(descriptor.digest)

    def _manifest(self, name: str) -> bytes:
        with self._get(f"/manifests/{name}", {"Accept": _ACCEPT}) as response:
            return _read(response, DOCUMENT_LIMIT_BYTES, "the manifest")

    @contextmanager
    def blob(self, descriptor: Descriptor, offset: int) -> Iterator[tuple[Blob, int]]:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        with self._get(f"/blobs/{descriptor.digest}", headers) as response:
            start = offset if response.status == 206 and _starts_at(response, offset) else 0
            if response.status == 206 and start != offset:
                raise ImageError(f"{self._reference.host} sends another part of {descriptor.digest} than was asked for", "invalid")
            length, left = response.headers.get("Content-Length"), descriptor.size - start
            if length is not None and length != str(left):
                raise ImageError(f"{self._reference.host} has {length} bytes of {descriptor.digest}, not {left}", "invalid")
            yield response, start

    # --- one request

    @contextmanager
    def _get(self, path: str, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        response = self._transport.open(self._base + path, headers, self._authorization)
        if response.status == 401:
            with response:
                challenges = response.headers.get_all("WWW-Authenticate") or []
            self._authorization = self._authorize(challenges)
            response = self._transport.open(self._base + path, headers, self._authorization)
        with response:
            if response.status not in (200, 206):
                raise self._refusal(response)
            yield response

    def _refusal(self, response: HTTPResponse) -> ImageError:
        kind = {401: "denied", 403: "denied", 404: "missing"}.get(response.status, "unavailable")
        message = f"{self._reference.host} answers {response.status} for {self._reference}"
        try:
            errors = json.loads(response.read(64 << 10))["errors"]
            said = f"{errors[0].get('code')} {errors[0].get('message')}"
        except (ValueError, LookupError, TypeError, AttributeError, OSError, HTTPException, RecursionError):
            return ImageError(message, kind)
        return ImageError(f"{message}: {''.join(each for each in said if each.isprintable())[:200]}", kind)

    # --- who we are

    def _authorize(self, challenges: list[str]) -> str:
        """Get the `Authorization` value for a registry's challenge. Raises `ImageError`."""
        if not self._has_login:
            self._login, self._has_login = find_login(self._reference.host), True
        for challenge in challenges:
            scheme, _, rest = challenge[:CHALLENGE_LIMIT_BYTES].partition(" ")
            if scheme.lower() == "bearer":
                return f"Bearer {self._fetch_token(dict(_pairs(rest)))}"
            if scheme.lower() == "basic":
                if self._login is None:
                    raise ImageError(f"{self._reference.host} wants a login, and the Docker configuration has none for it", "denied")
                return self._login.basic
        raise ImageError(f"{self._reference.host} wants an authentication that is not known here", "denied")

    def _fetch_token(self, asked: Mapping[str, str]) -> str:
        query = {"scope": asked.get("scope") or f"repository:{self._reference.repository}:pull"}
        if asked.get("service"):
            query["service"] = asked["service"]
        realm, login, body = asked.get("realm", ""), self._login, None
        if login is not None and login.is_token:
            form = {"grant_type": "refresh_token", "client_id": "hanabi", "refresh_token": login.secret, **query}
            body = urlencode(form).encode()
        else:
            realm += ("&" if "?" in realm else "?") + urlencode(query)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        basic = login.basic if login is not None and body is None else ""
        with self._transport.open(realm, headers, basic, body) as response:
            if response.status != 200:
                raise ImageError(f"the token service of {self._reference.host} answers {response.status}", "denied")
            raw = _read(response, TOKEN_LIMIT_BYTES, "the token")
        try:
            answer = json.loads(raw)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ImageError(f"the token service of {self._reference.host} gives no token", "denied")
        return token


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for item in parse_http_list(text):
        if match := _PAIR.fullmatch(item.strip()):
            yield match[1].lower(), match[2]


def _starts_at(response: HTTPResponse, offset: int) -> bool:
    said: Any = response.headers.get("Content-Range", "")
    return bool(re.match(rf"bytes {offset}-", said))


def _read(response: HTTPResponse, limit: int, what: str) -> bytes:
    try:
        data = response.read(limit + 1)
    except (OSError, HTTPException) as error:
        raise ImageError(f"{what} could not be read: {error}") from None
    if len(data) > limit:
        raise ImageError(f"{what} is larger than {limit} bytes", "invalid")
    return data
