"""Telemetry of an environment: what a subscriber is told, when, and what it costs when there is none."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hanabi.environment.telemetry import FALLEN_BEHIND
from hanabi.testing.sandbox import FakeProcess
from tests.unit.environment.extension import Client, Refused, Team
from tests.unit.fleet.rig import Rig, obedient
from tests.unit.runtime.telemetry.schema import check
from tests.waiting import until

ALL = ["platform", "function", "extension"]


class Listener:
    """An extension's server for batches. `answers`: the statuses of its next answers; empty: 200. `gate`: it answers once this is set."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.lines: list[dict[str, Any]] = []  # that came over TCP
        self.answers: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.port = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch]

    @property
    def kinds(self) -> list[str]:
        return [event["type"].removeprefix("platform.") for event in self.events]

    def said(self, whose: str = "function") -> list[Any]:
        return [event["record"] for event in self.events if event["type"] == whose]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("post / http/1.1") and f"host: sandbox.localdomain:{self.port}" in head
        body = await reader.readexactly(int(head.split("content-length: ")[1].split("\r")[0]))
        await self.gate.wait()
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.batches.append(json.loads(body))
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()

    async def take_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines.append(json.loads(line))
        writer.close()


@asynccontextmanager
async def listening(*, tcp: bool = False) -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.take_lines if tcp else listener.serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        listener.gate.set()
        server.close()


def destination(listener: Listener) -> dict[str, Any]:
    return {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{listener.port}"}


def subscribing(listener: Listener, **more: Any) -> Callable[[Client], Awaitable[int | None]]:
    """An extension that subscribes to all, and does its work on each invocation."""
    said = {"schemaVersion": "2022-12-13", "types": ALL, "buffering": {"timeoutMs": 25}, "destination": destination(listener), **more}

    async def extension(client: Client) -> int | None:
        await client.register("INVOKE", "SHUTDOWN")
        assert await client.subscribe(**said) == "OK"
        while (await client.next())["eventType"] != "SHUTDOWN":
            pass
        return 0

    return extension


async def printing(process: FakeProcess) -> int | None:
    """A runtime that prints while it loads, and in each invocation."""
    process.print("loading")
    await process.write("r")
    while True:
        kind, body = await process.read()
        if kind == "n":
            process.print("handling")
            await process.answer(process.payload(body))


async def test_all_events_of_an_environment_in_order_and_valid(tmp_path: Path) -> None:
    async with listening() as listener, Rig(printing) as rig:
        team = Team(rig, tmp_path, tool=subscribing(listener))
        for _ in range(2):
            await rig.invoke(rig.version(opt=team.opt), b'"abc"')
            await until(lambda: rig.states() == ["idle"])
        await until(lambda: listener.kinds.count("report") == 2)
        expected = ["initStart", "telemetrySubscription", "function", "extension", "initRuntimeDone", "initReport"]
        expected = [kind for kind in expected if kind != "extension" or "extension" in listener.kinds]
        assert [kind for kind in listener.kinds[:6] if kind in expected] == listener.kinds[:6]
        assert listener.kinds[6:] == ["start", "function", "runtimeDone", "report"] * 2
        for event in listener.events:
            check(event, "2022-12-13")
        assert listener.said() == ["loading\n", "handling\n", "handling\n"]
        ids = [event["record"]["requestId"] for event in listener.events[6:] if "requestId" in event["record"]]
        assert ids == [each.request_id for each in rig.journal.records for _ in range(3)]
        assert "TELEMETRY\tName: tool\tState: Subscribed\tTypes: [Platform, Function, Extension]" in rig.journal.lines


async def test_it_is_delivered_before_the_freeze(tmp_path: Path) -> None:
    """However long the subscriber is ready to wait for its batch."""
    async with listening() as listener, Rig(printing, freeze_after_s=0.001) as rig:
        team = Team(rig, tmp_path, tool=subscribing(listener, buffering={"timeoutMs": 30_000}))
        await rig.invoke(rig.version(opt=team.opt))
        await until(lambda: rig.sandbox.frozen)
        assert listener.kinds[-1] == "report"


async def test_a_subscriber_that_stands_still_holds_up_nothing(tmp_path: Path) -> None:
    async with listening() as listener, Rig(printing, freeze_after_s=0.001) as rig:
        team = Team(rig, tmp_path, tool=subscribing(listener))
        listener.gate.clear()
        version = rig.version(opt=team.opt)
        await rig.invoke(version)
        await until(lambda: rig.sandbox.frozen)
        assert listener.batches == []
        await rig.invoke(version)
        listener.gate.set()
        await until(lambda: listener.kinds.count("report") == 2)
        assert listener.kinds.count("start") == 2  # nothing twice


async def test_batches_that_are_not_taken_are_tried_again_then_dropped_and_said(tmp_path: Path) -> None:
    async with listening() as listener, Rig(printing, freeze_after_s=100.0) as rig:
        listener.answers = [500]
        team = Team(rig, tmp_path, tool=subscribing(listener))
        version = rig.version(opt=team.opt)
        await rig.invoke(version)
        await until(lambda: "report" in listener.kinds)
        listener.answers = [500, 500, 503]
        await rig.invoke(version)
        await until(lambda: "logsDropped" in listener.kinds)
        dropped = next(event["record"] for event in listener.events if event["type"] == "platform.logsDropped")
        assert dropped["reason"] == FALLEN_BEHIND and dropped["droppedRecords"] > 0 < dropped["droppedBytes"]


async def test_what_is_left_is_delivered_at_the_end(tmp_path: Path) -> None:
    async with listening() as listener:
        async with Rig(printing, freeze_after_s=100.0) as rig:
            team = Team(rig, tmp_path, tool=subscribing(listener, buffering={"timeoutMs": 30_000}))
            await rig.invoke(rig.version(opt=team.opt))
            await until(lambda: rig.states() == ["idle"])
        assert listener.kinds[-1] == "report" and team.story[-1] == "tool SHUTDOWN spindown"


async def test_lines_over_tcp_and_only_the_types_that_were_asked_for(tmp_path: Path) -> None:
    async with listening(tcp=True) as listener, Rig(printing) as rig:
        extension = subscribing(listener, types=["function"], destination={"protocol": "TCP", "port": listener.port})
        team = Team(rig, tmp_path, tool=extension)
        for _ in range(2):
            await rig.invoke(rig.version(opt=team.opt))
            await until(lambda: rig.states() == ["idle"])
        await until(lambda: len(listener.lines) == 3)
        assert [(line["type"], line["record"]) for line in listener.lines] == [
            ("function", "loading\n"), ("function", "handling\n"), ("function", "handling\n"),
        ]  # fmt: skip
        assert sum(step.startswith("connect ") for step in rig.sandbox.history) == 1


async def test_the_logs_api(tmp_path: Path) -> None:
    async def extension(client: Client) -> int | None:
        await client.register("INVOKE")
        await client.subscribe("/2020-08-15/logs", types=["platform"], destination=destination(listener), buffering={"timeoutMs": 25})
        with pytest.raises(Refused) as refused:
            await client.subscribe(schemaVersion="2022-12-13", types=["function"], destination=destination(listener))
        assert refused.value.args == (400, "Telemetry.AccessDenied")
        while True:
            await client.next()

    async with listening() as listener, Rig(printing) as rig:
        team = Team(rig, tmp_path, tool=extension)
        await rig.invoke(rig.version(opt=team.opt))
        await until(lambda: "report" in listener.kinds)
        assert listener.kinds == ["logsSubscription", "extension", "start", "end", "report"]


async def test_after_the_init_nobody_may_subscribe(tmp_path: Path) -> None:
    answers: list[object] = []

    async def extension(client: Client) -> int | None:
        await client.register("INVOKE")
        said: dict[str, Any] = {"schemaVersion": "2022-12-13", "types": ["function"], "destination": destination(listener)}
        answers.append(await client.subscribe(**said))
        answers.append(await client.subscribe(**said))
        await client.next()
        try:
            await client.subscribe(**said | {"types": ["platform"]})
        except Refused as refused:
            answers.append(refused.args)
        while True:
            await client.next()

    async with listening() as listener, Rig(obedient) as rig:
        team = Team(rig, tmp_path, tool=extension)
        await rig.invoke(rig.version(opt=team.opt))
        await until(lambda: len(answers) == 3)
        assert answers == ["OK", "AlreadySubscribed", (403, "Telemetry.SubscriptionClosed")]


async def test_after_a_reset_its_subscription_is_gone_and_it_subscribes_again(tmp_path: Path) -> None:
    async def dies(process: FakeProcess) -> int | None:
        await process.write("r")
        while (await process.read())[0] != "n":
            pass
        return 1

    async with listening() as listener, Rig(dies) as rig:
        team = Team(rig, tmp_path, tool=subscribing(listener))
        for _ in range(2):
            assert (await rig.invoke(rig.version(opt=team.opt))).function_error == "Unhandled"
        await until(lambda: listener.kinds.count("report") == 2)
        assert listener.kinds.count("telemetrySubscription") == 2
        phases = [event["record"]["phase"] for event in listener.events if event["type"] == "platform.initStart"]
        assert phases == ["init", "invoke"]
        assert [event["record"]["status"] for event in listener.events if event["type"] == "platform.report"] == ["error"] * 2


async def test_without_a_subscriber_the_log_is_plain(tmp_path: Path) -> None:
    async with Rig(printing) as rig:
        await rig.invoke(rig.version())
        (environment,) = rig.fleet._environments
        assert environment.log.plain and not environment.log.telemetry.listening
