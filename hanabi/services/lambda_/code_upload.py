"""`PUT /_hanabi/uploads`: staging of zip files too large for a Lambda API request, for an hour at most, until a function takes them.

The answer has a bucket and a key for `S3Bucket` and `S3Key` of CreateFunction and UpdateFunctionCode. For keys of accounts only.
"""

import asyncio
import json
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock, Timer
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.own_endpoints import Access, OwnEndpoint
from hanabi.errors import InvalidParameterValue, ServiceError
from hanabi.http.limits import BodyRule
from hanabi.ledger.disk_space import free_bytes

BUCKET = "hanabi-staging"
LIMIT_BYTES = 300 << 20  # more than what unpacks to Lambda's 250 MB ever has
LIFETIME_S = 3_600.0
STAGED_MAX = 8  # of all accounts; the oldest of the account that has most goes first
SPARE_BYTES = 64 << 20  # of the disk, besides what a zip takes when it becomes a function's
NO_SUCH_KEY = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Staged:
    path: Path
    account: str  # whose it is
    timer: Timer
    users: int = 0  # requests that read it: it stays until they have ended


class Staging:
    """The staging area. `directory` is empty, of this run, and on the spool's file system, so that bodies are moved, not copied."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._staged: dict[str, Staged] = {}  # oldest first
        self.endpoints = (OwnEndpoint("uploads", self.handle, ("PUT",), Access.ACCOUNT, BodyRule(LIMIT_BYTES, spool=True, known=True)),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Handle a verified request, whose signature covers the body too."""
        if not request.body:
            raise InvalidParameterValue("There is nothing in the body of the request")
        assert isinstance(request.body, bytes | Path)
        key = secrets.token_urlsafe(24)
        path = self._directory / key
        await asyncio.to_thread(self._take, request.body, path)
        self._staged[key] = Staged(path, request.account, self._clock.call_later(LIFETIME_S, self._drop, key))
        while len(self._staged) > STAGED_MAX:
            ((most, _),) = Counter(staged.account for staged in reversed(self._staged.values())).most_common(1)
            self._drop(next(each for each, staged in self._staged.items() if staged.account == most))
        answer = {"S3Bucket": BUCKET, "S3Key": key, "ExpiresIn": int(LIFETIME_S)}
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(answer).encode())

    def _take(self, body: bytes | Path, path: Path) -> None:
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        if free_bytes(self._directory) < size + SPARE_BYTES:  # the function's own copy of it
            raise ServiceError("There is no room left on the disk of this Hanabi.")
        if isinstance(body, Path):
            body.rename(path)
        else:
            path.write_bytes(body)

    @asynccontextmanager
    async def given(self, principal: Principal, code: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Replace the name of staged code by the code. The staged file is removed when a function has taken it.

        Raises `InvalidParameterValue` for code that is not staged any more.
        """
        if code.get("S3Bucket") != BUCKET or not principal.is_root or code.get("ZipFile") or code.get("ImageUri"):
            yield code
            return
        key = code.get("S3Key") or ""
        staged = self._staged.get(key)
        if staged is None or staged.account != principal.account:
            raise InvalidParameterValue(NO_SUCH_KEY)
        rest = {name: value for name, value in code.items() if name not in ("S3Bucket", "S3Key")}
        staged.users += 1
        try:
            yield {**rest, "ZipFile": staged.path}
            if not code.get("DryRun"):
                self._drop(key)
        finally:
            staged.users -= 1
            if self._staged.get(key) is not staged:
                self._remove(staged)

    def _drop(self, key: str) -> None:
        if staged := self._staged.pop(key, None):
            staged.timer.cancel()
            self._remove(staged)

    def _remove(self, staged: Staged) -> None:
        if not staged.users:
            asyncio.get_running_loop().run_in_executor(None, _unlink, staged.path)

    def close(self) -> None:
        """Stop. The directory is emptied at the next start."""
        for staged in self._staged.values():
            staged.timer.cancel()
        self._staged.clear()


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # it goes at the next start
        log.warning("%s is not removed: %s", path, error)
