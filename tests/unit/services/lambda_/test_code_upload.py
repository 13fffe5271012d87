"""Zip files that are uploaded ahead: whose they are, how long they stay, and that there are never many."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.keys import session_principal
from hanabi.edge.service import DOCUMENT_BYTES
from hanabi.errors import InvalidParameterValue, ServiceError
from hanabi.services.lambda_ import code_upload
from hanabi.services.lambda_.code_upload import BUCKET, LIFETIME_S, LIMIT_BYTES, STAGED_MAX, Staging
from hanabi.testing import ManualClock
from tests.unit.edge.live import Live

OWNER = Principal(account="000000000000", arn="arn:aws:iam::000000000000:root", user_id="000000000000", is_root=True)
ROLE = session_principal("arn:aws:iam::000000000000:role/admin", "x")


class Scene:
    def __init__(self, place: Path) -> None:
        self.clock = ManualClock()
        self.directory = place / "staging"
        self.directory.mkdir()
        self.staging = Staging(self.directory, self.clock)
        self.spool = place
        self.threads = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(self.threads)

    async def put(self, body: bytes | Path, account: str = OWNER.account) -> dict[str, str]:
        request = HttpRequest("PUT", "/_hanabi/uploads", "/_hanabi/uploads", "", [], body)
        request.account = account
        response = await self.staging.handle(request)
        assert isinstance(response.body, bytes)
        answer: dict[str, Any] = json.loads(response.body)
        assert (response.status, answer.pop("ExpiresIn")) == (200, 3600)
        return answer

    def spooled(self, content: bytes) -> Path:
        path = self.spool / "body"
        path.write_bytes(content)
        return path

    async def names(self) -> set[str]:
        """Once what is removed in a thread is gone."""
        self.threads.shutdown()
        self.threads = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(self.threads)
        return {path.name for path in self.directory.iterdir()}

    async def take(self, code: dict[str, Any], principal: Principal = OWNER) -> bytes:
        async with self.staging.given(principal, code) as given:
            assert "S3Bucket" not in given and "S3Key" not in given
            content: bytes = given["ZipFile"].read_bytes()
            return content


@asynccontextmanager
async def play(place: Path) -> AsyncIterator[Scene]:
    scene = Scene(place)
    yield scene
    scene.staging.close()


async def test_a_function_takes_it_once(tmp_path: Path) -> None:
    async with play(tmp_path) as scene:
        small, large = await scene.put(b"small"), await scene.put(scene.spooled(b"large"))
        assert small["S3Bucket"] == BUCKET and not (tmp_path / "body").exists()
        assert await scene.take({**large, "DryRun": True}) == b"large"
        with pytest.raises(ValueError, match="the function is refused"):
            async with scene.staging.given(OWNER, large):
                raise ValueError("the function is refused")
        assert await scene.take(large) == b"large"
        with pytest.raises(InvalidParameterValue, match=r"NoSuchKey\. S3 Error Message: The specified key does not exist"):
            await scene.take(large)
        assert await scene.take(small) == b"small"
        assert await scene.names() == set()


async def test_what_else_is_said_of_s3_stays_as_it_is(tmp_path: Path) -> None:
    """Control refuses it, as all of S3."""

    async with play(tmp_path) as scene:
        named = await scene.put(b"zip")
        others: list[tuple[Principal, dict[str, Any]]] = [
            (ROLE, named),
            (OWNER, {**named, "S3Bucket": "mine"}),
            (OWNER, {**named, "ZipFile": b"another"}),
            (OWNER, {"ZipFile": b"another"}),
        ]
        for principal, code in others:
            async with scene.staging.given(principal, code) as given:
                assert given is code
        for key in ("", "../keys.json", f"{named['S3Key']}x"):
            with pytest.raises(InvalidParameterValue):
                await scene.take({"S3Bucket": BUCKET, "S3Key": key})
        assert await scene.names() == {named["S3Key"]}


async def test_it_expires_and_there_are_never_many(tmp_path: Path) -> None:
    async with play(tmp_path) as scene:
        first = await scene.put(b"first")
        await scene.clock.advance(LIFETIME_S - 1)
        second = await scene.put(b"second")
        async with scene.staging.given(OWNER, first) as given:  # a request that has begun reads it to its end
            await scene.clock.advance(2)
            assert given["ZipFile"].read_bytes() == b"first"
            with pytest.raises(InvalidParameterValue):
                await scene.take(first)
        assert await scene.names() == {second["S3Key"]}
        more = [await scene.put(b"more") for _ in range(STAGED_MAX)]
        assert await scene.names() == {each["S3Key"] for each in more}
        await scene.clock.advance(LIFETIME_S)
        assert await scene.names() == set()


async def test_an_account_that_stages_many_loses_its_own(tmp_path: Path) -> None:
    async with play(tmp_path) as scene:
        mine = await scene.put(b"mine")
        theirs = [await scene.put(b"theirs", "111122223333") for _ in range(2 * STAGED_MAX)]
        assert await scene.names() == {mine["S3Key"], *(each["S3Key"] for each in theirs[-STAGED_MAX + 1 :])}
        assert await scene.take(mine) == b"mine"


async def test_what_cannot_be_taken_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with play(tmp_path) as scene:
        assert [endpoint.methods for endpoint in scene.staging.endpoints] == [("PUT",)]
        with pytest.raises(InvalidParameterValue):
            await scene.put(b"")
        monkeypatch.setattr(code_upload, "free_bytes", lambda directory: 1000)
        with pytest.raises(ServiceError, match="no room left on the disk"):
            await scene.put(b"x")
        assert await scene.names() == set()


def test_only_the_owner_may_send_so_much(small_edge: Live) -> None:
    def limit(access_key: str, path: str = "/_hanabi/uploads") -> int:
        claim = f"AWS4-HMAC-SHA256 Credential={access_key}/20261128/us-east-1/hanabi/aws4_request, SignedHeaders=host, Signature=0"
        request = HttpRequest("PUT", path, path, "", [("host", "127.0.0.1"), ("authorization", claim)], b"")
        return small_edge.edge.body_rule(request).limit_bytes

    assert limit(small_edge.keys.root.access_key) == LIMIT_BYTES > 250 << 20
    assert limit(small_edge.keys.root.access_key, "/_hanabi/usage") == DOCUMENT_BYTES
    assert limit(small_edge.inside.access_key) == limit("AKIANOBODY") == DOCUMENT_BYTES
