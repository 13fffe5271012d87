"""Zip files in S3: fetched from any S3-compatible endpoint into a file, for as long as they are worked on."""

import asyncio
import html
import re
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hanabi.base.threads import ThreadPool
from hanabi.errors import AccessDenied, ApiError, InvalidParameterValue, ServiceError
from hanabi.images.code.code_store import ZIP_LIMIT_BYTES
from hanabi.images.code.s3_credentials import S3Credentials
from hanabi.images.code.unzip import TOO_LARGE

CONCURRENT_FETCHES = 4
CONNECT_S, READ_S = 5.0, 30.0  # for a connection, and without a byte
FETCH_S = 300.0  # for an object whole
PIECE_BYTES = 1 << 18
ERROR_BYTES = 1 << 16  # of an answer that is an error
NO_SUCH_KEY = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
_ERROR = re.compile(r"<(Code|Message)>(?:<!\[CDATA\[)?([^<]{0,1024}?)(?:\]\]>)?</")


@dataclass(frozen=True, slots=True)
class S3Object:
    """A fetched object. `version` is its own, "" in a bucket without versions."""

    path: Path
    version: str


class S3Objects:
    """The objects of one endpoint, its buckets by path. Without `credentials` requests are not signed.

    `scratch` is an existing directory for what is fetched, emptied at start.
    """

    def __init__(self, endpoint: str, credentials: S3Credentials | None, region: str, scratch: Path) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._credentials = credentials
        self._region = region
        self._scratch = scratch
        self._threads = ThreadPool(CONCURRENT_FETCHES)
        self._closed = False

    @asynccontextmanager
    async def fetch(self, bucket: str, key: str, version: str | None) -> AsyncIterator[S3Object]:
        """Fetch an object. Raises `ApiError` in Lambda's words."""
        path = self._scratch / f"s3-{uuid.uuid4().hex}"
        try:
            yield await self._threads.run(lambda: self._fetch(bucket, key, version, path))
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def close(self) -> None:
        """Stop: fetches under way end with their next piece."""
        self._closed = True
        await asyncio.to_thread(self._threads.close)

    def _fetch(self, bucket: str, key: str, version: str | None, path: Path) -> S3Object:
        from botocore.exceptions import BotoCoreError, HTTPClientError  # here, so that who needs no S3 does not load it
        from botocore.httpsession import URLLib3Session
        from urllib3.exceptions import HTTPError

        give_up = time.monotonic() + FETCH_S
        session = URLLib3Session(timeout=(CONNECT_S, READ_S))
        try:
            answer = session.send(self._request(bucket, key, version))
            try:
                if answer.status_code != 200:
                    raise _error(answer.status_code, answer.raw.read(ERROR_BYTES, decode_content=False), bucket, key)
                size = self._save(answer.raw, path, give_up)
            finally:
                answer.raw.close()
            declared = answer.headers.get("content-length", "")
            if declared.isdecimal() and int(declared) != size:
                raise ServiceError(f"Error occurred while GetObject. The S3 endpoint sent {size} of {declared} bytes.")
            found: str = answer.headers.get("x-amz-version-id", "")
            return S3Object(path, "" if found == "null" else found)
        except (BotoCoreError, HTTPClientError, HTTPError, OSError) as error:
            raise ServiceError(f"Error occurred while GetObject. The S3 endpoint {self._endpoint} cannot be used now: {error}") from None
        finally:
            session.close()

    def _request(self, bucket: str, key: str, version: str | None) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        if {".", ".."} & set(key.split("/")):  # servers and proxies would take these for a path to other buckets, or to what is no bucket
            raise InvalidParameterValue(NO_SUCH_KEY)
        url = f"{self._endpoint}/{quote(bucket, safe='')}/{quote(key, safe='/~')}"
        request = AWSRequest("GET", f"{url}?versionId={quote(version, safe='')}" if version else url, stream_output=True)
        if (own := self._credentials) is not None:
            credentials = Credentials(own.access_key, own.secret_key, own.session_token)
            S3SigV4Auth(credentials, "s3", self._region).add_auth(request)
        return request.prepare()

    def _save(self, body: Any, path: Path, give_up: float) -> int:
        size = 0
        with path.open("xb") as file:
            while piece := body.read1(PIECE_BYTES, decode_content=False):  # what has come: a slow endpoint is told from a stopped one
                size += len(piece)
                if size > ZIP_LIMIT_BYTES:
                    raise InvalidParameterValue(TOO_LARGE)
                if self._closed or time.monotonic() > give_up:
                    raise ServiceError("Error occurred while GetObject. The S3 endpoint is too slow.")
                file.write(piece)
        return size


def _error(status: int, body: bytes, bucket: str, key: str) -> ApiError:
    """Make Lambda's error of S3's: an `AccessDenied` of its own, else `InvalidParameterValue`, as recorded."""
    told = {name: html.unescape(text) for name, text in _ERROR.findall(body.decode("utf-8", "replace"))}
    code = told.get("Code") or {403: "AccessDenied", 404: "NoSuchKey"}.get(status, str(status))
    said = f"S3 Error Code: {code}. S3 Error Message: {told.get('Message', '')}"
    if status >= 500:
        return ServiceError(f"Error occurred while GetObject. {said}")
    if code == "AccessDenied":
        return AccessDenied(
            "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for "
            f"{bucket}/{key}. {said}"
        )
    return InvalidParameterValue(f"Error occurred while GetObject. {said}")
