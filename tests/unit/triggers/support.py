"""A queue on a directory, with a catalog and an invoker that the test controls."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.body import Body
from hanabi.contracts.functions import Concurrency, EventRules, FunctionVersion, Route
from hanabi.contracts.invocation import Invocation, Result
from hanabi.contracts.journal import Record
from hanabi.errors import ResourceNotFound
from hanabi.testing import ManualClock
from hanabi.testing.invoker import FakeInvoker
from hanabi.triggers.event_log import SqliteEventLog
from hanabi.triggers.event_queue import DurableQueue


def make_route(name: str = "hello") -> Route:
    version = FunctionVersion(
        key=name,
        name=name,
        version="$LATEST",
        arn=f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
        account="000000000000",
        region="us-east-1",
        runtime="python3.11",
        handler="app.handler",
        memory_mb=128,
        timeout_s=3,
        tmp_mb=512,
        environment={},
        role="arn:aws:iam::000000000000:role/r",
        code=Path("/nowhere"),
        log_group=f"/aws/lambda/{name}",
    )
    return Route(version, version.arn, Concurrency(name))


class FixedCatalog:
    """Functions by name; a deleted one is not found."""

    def __init__(self, *names: str) -> None:
        self.routes = {name: make_route(name) for name in names or ("hello",)}
        self.rules: dict[tuple[str, str | None], EventRules] = {}

    def resolve(self, function: str, qualifier: str | None) -> Route:
        if function not in self.routes:
            raise ResourceNotFound(f"Function not found: {function}")
        return self.routes[function]

    def event_rules(self, function: str, qualifier: str | None) -> EventRules:
        return self.rules.get((function, qualifier), EventRules())

    def on_retired(self, callback: Callable[[str], None]) -> None:
        raise AssertionError("not used here")

    def account_concurrency(self) -> tuple[int, int]:
        return 1000, 1000


def make_result(invocation: Invocation, function_error: str | None = None, payload: Body = b"null") -> Result:
    version = invocation.route.version
    record = Record(
        request_id=invocation.request_id,
        function=version.name,
        version=version.version,
        memory_mb=version.memory_mb,
        started_ms=0,
        duration_ms=1.0,
        billed_ms=1,
        init_ms=None,
        max_memory_mb=1,
        status="error" if function_error else "success",
        error_type="Runtime.ExitError" if function_error else None,
        environment="env",
        source=invocation.source,
    )
    return Result(payload=payload, function_error=function_error, version=version.version, log_tail=b"", record=record)


class ScriptedInvoker(FakeInvoker):
    """Does with each invocation what `script` says: raises an exception, waits for an event, or answers (a function error or None)."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[tuple[float, Invocation]] = []
        self.running = 0
        self.most_running = 0
        self.script: Callable[[Invocation], Exception | asyncio.Event | str | None] = lambda invocation: None

    @property
    def ids(self) -> list[str]:
        return [invocation.request_id for _, invocation in self.seen]

    async def invoke(self, invocation: Invocation) -> Result:
        self.seen.append((self.clock.time(), invocation))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            answer = self.script(invocation)
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, asyncio.Event):
                await answer.wait()
                answer = None
            return make_result(invocation, answer)
        finally:
            self.running -= 1


class Setting:
    """A queue and what is around it."""

    def __init__(self, directory: Path, clock: ManualClock, catalog: FixedCatalog, **options: Any) -> None:
        self.clock = clock
        self.catalog = catalog
        self.invoker = ScriptedInvoker(clock)
        self.log = SqliteEventLog(directory / "events.db")
        self.database = self.log.database
        self.health = Health(clock)
        self.queue = DurableQueue(self.log, catalog, self.invoker, clock, health=self.health, **options)

    async def put(self, request_id: str, function: str = "hello", payload: bytes = b"{}", qualifier: str | None = None) -> None:
        await self.queue.put(make_route(function), payload, request_id=request_id, client_context="", trace="t", qualifier=qualifier)

    @property
    def problems(self) -> list[str]:
        return [problem.key for problem in self.health.problems]

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, each timer on the way having its full effect, on disk as well."""
        end = self.clock.time() + seconds
        await self.queue.wait_idle()
        while (wait := self.clock.next_timer()) is not None and self.clock.time() + wait <= end:
            await self.clock.advance(wait)
            await self.queue.wait_idle()
        await self.clock.advance(end - self.clock.time())


@contextlib.asynccontextmanager
async def open_queue(
    directory: Path, *, clock: ManualClock | None = None, catalog: FixedCatalog | None = None, **options: Any
) -> AsyncIterator[Setting]:
    setting = Setting(directory, clock or ManualClock(), catalog or FixedCatalog(), **options)
    try:
        yield setting
    finally:
        await setting.queue.close()
        await setting.database.close()
