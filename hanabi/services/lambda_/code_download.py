"""`/_hanabi/code/<sha256>`: the download of a function's zip, at the signed URL from GetFunction."""

import asyncio
import base64
import re
from pathlib import Path
from typing import Protocol

from hanabi.base.clock import Clock
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.auth.presign import PresignedUrls
from hanabi.edge.own_endpoints import PREFIX as OWN_PREFIX
from hanabi.edge.own_endpoints import Access, OwnEndpoint
from hanabi.http.file_stream import FileStream
from hanabi.quotas import CODE_URL_S

NAME = "code"
PREFIX = f"{OWN_PREFIX}{NAME}/"

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REFUSALS = {
    "missing": "This needs the signed URL that GetFunction answers with",
    "wrong": "The signature does not match",
    "expired": "Request has expired",
}


class ZipStore(Protocol):
    def zip_path(self, sha256: str) -> Path:
        """Return where the zip with this base64 SHA-256 is, if it exists."""


class CodeEndpoint:
    """The endpoint. It checks the URL's signature itself: see `code_url`."""

    def __init__(self, zips: ZipStore, keys: KeyRing, clock: Clock) -> None:
        self._zip_store = zips
        self._presigned_urls = PresignedUrls(keys.root.secret_key, PREFIX)
        self._clock = clock
        self.endpoints = (OwnEndpoint(NAME, self.handle, access=Access.GRANTED),)

    def code_url(self, request: HttpRequest, sha256: str) -> str | None:
        """Make the URL of a zip for the client of `request`; None for one inside an environment, which cannot reach it."""
        host = request.header("host")
        if not request.peer or not _HOST.fullmatch(host):
            return None
        return self._presigned_urls.sign(host, PREFIX + base64.b64decode(sha256).hex(), int(self._clock.time()) + CODE_URL_S)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        problem = self._presigned_urls.check(request.header("host"), request.path, request.query, self._clock.time())
        if problem:
            return _answer(403, _REFUSALS[problem])
        digest = request.path.removeprefix(PREFIX)
        try:
            if not _DIGEST.fullmatch(digest):
                raise FileNotFoundError(digest)
            path = self._zip_store.zip_path(base64.b64encode(bytes.fromhex(digest)).decode())
            body = await asyncio.to_thread(FileStream, path)
        except FileNotFoundError:
            return _answer(404, "There is no such code")
        return HttpResponse(200, [("content-type", "application/zip"), ("content-length", str(body.size_bytes))], body)


def _answer(status: int, text: str) -> HttpResponse:
    return HttpResponse(status, [("content-type", "text/plain")], f"{text}\n".encode())
