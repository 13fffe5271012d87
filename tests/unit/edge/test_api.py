"""The way of an API call: with a task and without, ended, cancelled, gone wrong."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import NO_ANSWER, HttpRequest, HttpResponse
from hanabi.contracts.invocation import Cancellable
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.service import NOTHING, Call, Done, Operation, Params, Service
from hanabi.errors import ResourceNotFound
from tests.unit.edge.world import make_request


class Running:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Quick(Service):
    """One operation that can do without a task, and says which way it went."""

    name = "lambda"

    def __init__(self) -> None:
        self.done: list[Done] = []
        self.running = Running()
        self.way: Callable[[Call, Done], Cancellable | None] = lambda call, done: None
        self.waits = asyncio.Event()
        self.operations = {"GetAccountSettings": Operation(self.handle, lambda params: None, NOTHING, begin=self.begin)}

    def begin(self, call: Call, params: Params, target: Any, done: Done) -> Cancellable | None:
        return self.way(call, done)

    async def handle(self, call: Call, params: Params, target: Any) -> Params:
        await self.waits.wait()
        return {"AccountUsage": {"FunctionCount": 2}}


class Scene:
    def __init__(self, directory: Path) -> None:
        self.keys = KeyRing.open(directory / "keys.json", region="us-east-1", account="0" * 12, clock=SystemClock())
        self.service = Quick()
        self.edge = Edge([self.service], self.keys, SystemClock(), "us-east-1")
        self.answers: list[HttpResponse] = []
        self.request: HttpRequest = make_request(self.keys.root, "lambda", "GetAccountSettings", {})

    def send(self, key: Any = None) -> None:
        if key is not None:
            self.request = make_request(key, "lambda", "GetAccountSettings", {})
        self.edge.handle(self.request, self.answers.append)

    def answer(self) -> tuple[int, Any]:
        (response,) = self.answers
        assert isinstance(response.body, bytes)
        return response.status, json.loads(response.body)

    async def until_answered(self) -> None:
        async with asyncio.timeout(30):
            await self.edge.api.tasks.join()
        await asyncio.sleep(0)  # what is called when they have ended


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def keep(scene: Scene) -> Callable[[Call, Done], Cancellable]:
    def way(call: Call, done: Done) -> Cancellable:
        call.response_headers.append(("x-own", "1"))
        scene.service.done.append(done)
        return scene.service.running

    return way


async def test_a_call_without_a_task_is_answered_when_it_is_done(scene: Scene) -> None:
    scene.service.way = keep(scene)
    scene.send()
    assert scene.answers == [] and not scene.edge.api.tasks
    scene.service.done[0]({"AccountUsage": {"FunctionCount": 1}})
    assert scene.answer() == (200, {"AccountUsage": {"FunctionCount": 1}})
    assert ("x-own", "1") in scene.answers[0].headers and scene.request.cancel is None


async def test_it_may_be_done_before_it_returns(scene: Scene) -> None:
    def way(call: Call, done: Done) -> Cancellable:
        done(ResourceNotFound("gone"))
        return scene.service.running

    scene.service.way = way
    scene.send()
    assert scene.answer()[0] == 404 and scene.request.cancel is None


@pytest.mark.parametrize("error", [ResourceNotFound("no"), RuntimeError("a defect")])
async def test_what_it_raises_is_answered(scene: Scene, error: Exception) -> None:
    def way(call: Call, done: Done) -> Cancellable:
        raise error

    scene.service.way = way
    scene.send()
    assert scene.answer()[0] == (404 if isinstance(error, ResourceNotFound) else 500)


async def test_a_result_that_cannot_be_rendered_is_a_service_exception(scene: Scene) -> None:
    scene.service.way = keep(scene)
    scene.send()
    scene.service.done[0]({"AccountUsage": 1})
    assert scene.answer()[0] == 500


async def test_one_that_is_cancelled_is_told_so_and_gives_no_answer(scene: Scene) -> None:
    scene.service.way = keep(scene)
    scene.send()
    assert scene.request.cancel is not None
    scene.request.cancel()
    assert scene.service.running.cancelled and scene.answers == [NO_ANSWER]


async def test_one_that_begin_leaves_alone_has_a_task(scene: Scene) -> None:
    scene.send()
    assert len(scene.edge.api.tasks) == 1
    scene.service.waits.set()
    await scene.until_answered()
    assert scene.answer() == (200, {"AccountUsage": {"FunctionCount": 2}}) and not scene.edge.api.tasks


async def test_a_task_that_is_cancelled_gives_no_answer(scene: Scene) -> None:
    scene.send()
    assert scene.request.cancel is not None
    scene.request.cancel()
    await scene.until_answered()
    assert scene.answers == [NO_ANSWER]


async def test_of_others_than_the_owner_begin_is_not_asked(scene: Scene) -> None:
    """What they may do is looked up first, which takes a task."""
    scene.service.way = keep(scene)
    scene.service.waits.set()
    scene.send(scene.keys.assume(f"arn:aws:iam::{'0' * 12}:role/r", "session", 900, scene.keys.root.principal))
    await scene.until_answered()
    assert scene.answer()[0] == 200 and scene.service.done == []
