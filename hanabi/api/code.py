"""`/_hanabi/code/<sha256>`: a function's zip, to be fetched from the signed URL that GetFunction answers with."""

import asyncio
import base64
import re
from pathlib import Path
from typing import Protocol

from hanabi.api.keys import KeyRing
from hanabi.api.presign import presign
from hanabi.contracts import Clock, HttpRequest, HttpResponse

PREFIX = "/_hanabi/code/"
LIFETIME_S = 600  # as Lambda's

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Zips(Protocol):
    def zip_path(self, sha256: str) -> Path:
        """Where the zip with this base64 SHA-256 is, if it is anywhere."""


class CodeEndpoint:
    """`handle` is an `HttpHandler`; that the URL was signed is the edge's business."""

    def __init__(self, zips: Zips, keys: KeyRing, clock: Clock, region: str) -> None:
        self._zips = zips
        self._keys = keys
        self._clock = clock
        self._region = region

    def locate(self, request: HttpRequest, sha256: str) -> str | None:
        """The URL of a zip for the client of `request`; None for one inside an environment, which cannot get there."""
        host = request.header("host")
        if not request.peer or not _HOST.fullmatch(host):
            return None
        path = PREFIX + base64.b64decode(sha256).hex()
        return presign(self._keys.root, self._clock.time(), self._region, "hanabi", host, path, LIFETIME_S)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        digest = request.path.removeprefix(PREFIX)
        if request.method != "GET":
            return HttpResponse(405, [("content-type", "text/plain")], b"GET only\n")
        try:
            if not _DIGEST.fullmatch(digest):
                raise FileNotFoundError(digest)
            path = self._zips.zip_path(base64.b64encode(bytes.fromhex(digest)).decode())
            body = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return HttpResponse(404, [("content-type", "text/plain")], b"There is no such code\n")
        return HttpResponse(200, [("content-type", "application/zip")], body)
