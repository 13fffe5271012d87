"""The execution environments of this host: found, started, handed out, taken back, reaped."""

import asyncio
import logging
import os
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from hanabi.contracts import Driver, FunctionVersion, Preload, RuntimeImage, SandboxSpec
from hanabi.errors import ServiceError
from hanabi.fleet.environment import Environment
from hanabi.fleet.gate import Gate
from hanabi.fleet.host import Host
from hanabi.fleet.lifecycle import State
from hanabi.fleet.outcome import Outcome
from hanabi.fleet.places import Places
from hanabi.fleet.stock import Stock
from hanabi.fleet.variables import needs_own_start, preload_of

INIT_LIMIT_S = 10.0  # AWS Lambda developer guide, "Init phase"
STOCK_MEMORY_MB = 1024  # cap of an environment that has no function yet
STOCK_TMP_MB = 512  # the default /tmp
STARTS_AT_ONCE = max(2, os.cpu_count() or 1)
MAX_AGE_S = 6 * 3600.0  # "recycled every few hours"
REAP_EVERY_S = 1.0
RETIRED_KEPT = 4096  # keys: each matters only as long as an invocation that began before its end
SHUTTING_DOWN = "Hanabi is shutting down"
log = logging.getLogger(__name__)


class InitFailed(Exception):
    """A function's init failed. `environment` is on its way out, its log stream still takes the record."""

    def __init__(self, environment: Environment, outcome: Outcome) -> None:
        super().__init__(outcome.error_type)
        self.environment = environment
        self.outcome = outcome


class Fleet:
    """Owns every environment. `idle` and `release` are the warm path; `lease` waits for a start."""

    def __init__(
        self,
        driver: Driver,
        ensure_image: Callable[[FunctionVersion], Awaitable[RuntimeImage]],
        host: Host,
        *,
        max_environments: int,
        stock_size: int = 2,
        stock_memory_mb: int = STOCK_MEMORY_MB,
        idle_timeout_s: float = 600.0,
    ) -> None:
        self._driver = driver
        self._ensure_image = ensure_image
        self._host = host
        self._max_environments = max_environments
        self._stock_memory_mb = stock_memory_mb
        self._idle_timeout_s = idle_timeout_s
        self._idle: dict[str, list[Environment]] = {}  # by FunctionVersion.key; the most recently used last
        self._waiting: dict[str, deque[asyncio.Future[Environment]]] = {}
        self._all: dict[str, Environment] = {}
        self._retired: dict[str, None] = {}  # in order
        self._places = Places(max_environments, host.clock, self._make_room)
        self._stock = Stock(self._make_stocked, lambda: not self._gate.busy and self._places.free > 0, stock_size)
        self._gate = Gate(STARTS_AT_ONCE, host.clock, self._stock.nudge)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending: set[asyncio.Task[Any]] = set()  # never cancelled: half a destruction leaves something behind
        self._closing = False

    async def open(self) -> None:
        await self._driver.open()
        self._spawn(self._stock.run(self._host.clock.sleep))
        self._spawn(self._reap())

    async def close(self) -> None:
        """Destroy every environment. Whoever waits for one is told."""
        self._closing = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(ServiceError(SHUTTING_DOWN))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for environment in list(self._all.values()):
            self._discard(environment)
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)
        await self._driver.close()

    def _refuse_when_closing(self) -> None:
        """A function that is being ended may have asked for another one."""
        if self._closing:
            raise ServiceError(SHUTTING_DOWN)

    # --- the warm path ------------------------------------------------------------------------------------------------

    def idle(self, key: str) -> Environment | None:
        """The most recently used idle environment, or None."""
        shelf = self._idle.get(key)
        while shelf:
            environment = shelf.pop()
            if not environment.doomed:
                return environment
            self._discard(environment)
        return None

    def release(self, environment: Environment, *, reusable: bool) -> None:
        """An invocation is over. A waiting one gets the environment at once, else it rests."""
        if not reusable or environment.doomed:
            self._discard(environment)
            return
        environment.rest()
        self._offer(environment)

    def _offer(self, environment: Environment) -> None:
        version = environment.version
        assert version is not None
        if environment.doomed or self._closing:
            self._discard(environment)
        elif waiter := self._next_waiter(version.key):
            waiter.set_result(environment)
        elif version.key in self._retired:
            self._discard(environment)
        else:
            self._idle.setdefault(version.key, []).append(environment)
            environment.arm_freeze()
            if not self._places.free:
                self._make_room()

    def _next_waiter(self, key: str) -> "asyncio.Future[Environment] | None":
        waiters = self._waiting.get(key)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    # --- starting -----------------------------------------------------------------------------------------------------

    async def lease(self, version: FunctionVersion) -> Environment:
        """An environment for a version that has none idle: a new one, or one that comes free before it is ready.

        Raises `InitFailed` when the function's init failed, `SandboxError` or `ImageError` when there can be no environment,
        `TooManyRequests` when this host stays full.
        """
        self._refuse_when_closing()
        waiter: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(version.key, deque())
        waiters.append(waiter)
        self._spawn(self._start_for_waiter(version))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._offer(waiter.result())
            raise
        finally:
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters and self._waiting.get(version.key) is waiters:
                del self._waiting[version.key]

    async def _start_for_waiter(self, version: FunctionVersion) -> None:
        try:
            environment = await self._start(version, INIT_LIMIT_S, "init", lambda: self._is_awaited(version.key))
        except Exception as error:
            waiter = self._next_waiter(version.key)
            if waiter:
                waiter.set_exception(error)
        else:
            if environment is not None:
                self._offer(environment)

    def _is_awaited(self, key: str) -> bool:
        """Whether somebody still waits for an environment: another one may have come free meanwhile."""
        return any(not waiter.done() for waiter in self._waiting.get(key, ()))

    async def start(self, version: FunctionVersion, limit_s: float, *, phase: str) -> Environment:
        """A new environment of a version, its init done within the limit. Raises as `lease`."""
        self._refuse_when_closing()
        task = asyncio.get_running_loop().create_task(self._start(version, limit_s, phase, lambda: True))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            environment = await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or not current.cancelling():  # it was the task that was cancelled, not its caller
                self._refuse_when_closing()
            raise
        assert environment is not None
        return environment

    async def _start(self, version: FunctionVersion, limit_s: float, phase: str, wanted: Callable[[], bool]) -> Environment | None:
        """As `start`, or None when it is no longer wanted."""
        image = await self._ensure_image(version)
        async with self._gate.passage():
            if not wanted():
                return None
            own_start = version.container is not None or (bool(image.command) and needs_own_start(version.environment))
            stockable = version.tmp_mb == STOCK_TMP_MB and not own_start
            environment = self._stock.take(image) if stockable else None
            if environment is None:
                environment = await self._make(image, version.memory_mb, version.tmp_mb, wanted, None if own_start else preload_of(image))
            if environment is None:
                return None
            return await self._initialize(environment, version, limit_s, phase)

    async def _initialize(self, environment: Environment, version: FunctionVersion, limit_s: float, phase: str) -> Environment:
        try:
            outcome = await environment.initialize(version, limit_s)
        except BaseException:
            self._discard(environment)
            raise
        if outcome.status != "success":
            environment.log_failed_init(outcome, phase)
            environment.flush()
            self._discard(environment)
            raise InitFailed(environment, outcome)
        return environment

    async def _make(
        self, image: RuntimeImage, memory_mb: int, tmp_mb: int, wanted: Callable[[], bool], preload: Preload | None
    ) -> Environment | None:
        """A sandbox with nothing in it; None when it is no longer wanted by the time there is a place."""
        await self._places.take()
        try:
            self._refuse_when_closing()
            if not wanted():
                self._free_place()
                return None
            id = f"e{uuid.uuid4().hex[:20]}"
            spec = SandboxSpec(id=id, image=image, memory_mb=memory_mb, tmp_mb=tmp_mb, preload=preload)
            environment = Environment(await self._driver.create(spec), image, self._host)
        except BaseException:
            self._free_place()
            raise
        environment.on_gone = self._gone
        self._all[environment.id] = environment
        if environment.sandbox.preloaded:
            await self._load(environment)
        return environment

    async def _load(self, environment: Environment) -> None:
        try:
            await environment.load()
        except BaseException:
            self._discard(environment)
            raise

    async def _make_stocked(self, image: RuntimeImage) -> Environment:
        environment = await self._make(image, self._stock_memory_mb, STOCK_TMP_MB, lambda: True, preload_of(image))
        assert environment is not None
        if image.command:
            await self._load(environment)
        return environment

    def expect(self, image: RuntimeImage) -> None:
        """Functions of this runtime exist."""
        self._stock.expect(image)

    # --- places on the host -------------------------------------------------------------------------------------------

    def _free_place(self) -> None:
        self._places.give_back()
        self._stock.nudge()

    def _make_room(self) -> None:
        """End what is missed least, for those who wait for a place: stocked environments, else those idle longest."""
        for _ in range(self._places.wanted() - len(self._ending)):
            victim = self._stock.give_up_one()
            if victim is None:
                victim = min((shelf[0] for shelf in self._idle.values() if shelf), key=lambda each: each.idle_since, default=None)
            if victim is None:
                return
            self._discard(victim)

    # --- ending -------------------------------------------------------------------------------------------------------

    def retire(self, key: str) -> None:
        """A version will never be invoked again: its environments go as soon as they are free."""
        self._retired[key] = None
        if len(self._retired) > RETIRED_KEPT:
            del self._retired[next(iter(self._retired))]
        for environment in self._idle.pop(key, []):
            self._discard(environment)

    def _gone(self, environment: Environment) -> None:
        """It ended by itself."""
        if environment.version is None:
            self._stock.mourn()
        self._discard(environment)

    def _discard(self, environment: Environment) -> None:
        """End an environment, whatever it is doing. More than once is no error."""
        environment.doomed = True
        if self._all.pop(environment.id, None) is None:
            return
        self._stock.remove(environment)
        if environment.version is not None:
            key = environment.version.key
            shelf = self._idle.get(key, [])
            if environment in shelf:
                shelf.remove(environment)
            if not shelf:
                self._idle.pop(key, None)
        self._spawn(self._destroy(environment), self._ending)

    async def _destroy(self, environment: Environment) -> None:
        try:
            await environment.destroy()
        finally:
            self._free_place()

    async def _reap(self) -> None:
        """Scale to zero: environments idle for long, or old, are ended."""
        clock = self._host.clock
        while True:
            await clock.sleep(min(REAP_EVERY_S, self._idle_timeout_s / 4))
            now = clock.monotonic()
            for shelf in list(self._idle.values()):
                for environment in list(shelf):
                    if now - environment.idle_since >= self._idle_timeout_s or now - environment.created >= MAX_AGE_S:
                        self._discard(environment)

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: "set[asyncio.Task[Any]] | None" = None) -> None:
        tasks = self._tasks if tasks is None else tasks
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_report)

    def code_in_use(self) -> set[Path]:
        """The code that environments run, be it replaced or deleted meanwhile."""
        return {each.version.code for each in self._all.values() if each.version is not None and each.version.code is not None}

    def images_in_use(self) -> set[str]:
        """The digests of the images that environments run on."""
        return {each.image.digest for each in self._all.values()}

    # --- looking ------------------------------------------------------------------------------------------------------

    def describe(self) -> list[dict[str, Any]]:
        """One row for each environment: what `hanabi ps` shows."""
        now = self._host.clock.monotonic()
        return [_row(each, now) for each in self._all.values()]


def _report(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("fleet task failed", exc_info=error)


def _row(environment: Environment, now: float) -> dict[str, Any]:
    version = environment.version
    stocked = version is None and environment.state is State.STARTING
    return {
        "id": environment.id,
        "function": version.name if version else None,
        "version": version.version if version else None,
        "runtime": environment.image.runtime,
        "state": "stocked" if stocked else environment.state.value,
        "memory_mb": environment.version.memory_mb if environment.version else None,
        "age_s": round(now - environment.created, 1),
        "invocations": environment.invocations,
    }
