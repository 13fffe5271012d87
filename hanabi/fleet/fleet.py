"""The execution environments of this host: found, started, handed out, taken back, reaped."""

import asyncio
import logging
import os
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from hanabi.contracts import Driver, FunctionVersion, RuntimeImage, SandboxSpec
from hanabi.errors import HanabiError, ServiceError
from hanabi.fleet.environment import Environment
from hanabi.fleet.host import Host
from hanabi.fleet.lifecycle import State
from hanabi.fleet.outcome import Outcome
from hanabi.fleet.stock import Stock
from hanabi.fleet.variables import needs_own_start

INIT_LIMIT_S = 10.0  # AWS Lambda developer guide, "Init phase"
STOCK_MEMORY_MB = 1024  # cap of an environment that has no function yet
STOCK_TMP_MB = 512  # the default /tmp
STARTS_AT_ONCE = max(2, os.cpu_count() or 1)  # more would only slow each other down
WAIT_LIMIT_S = 60.0  # for a place on a host that is full
MAX_AGE_S = 6 * 3600.0  # "recycled every few hours"
REAP_EVERY_S = 1.0
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
        ensure_image: Callable[[str], Awaitable[RuntimeImage]],
        host: Host,
        *,
        max_environments: int,
        stock_size: int = 2,
        idle_timeout_s: float = 600.0,
    ) -> None:
        self._driver = driver
        self._ensure_image = ensure_image
        self._host = host
        self._max_environments = max_environments
        self._idle_timeout_s = idle_timeout_s
        self._idle: dict[str, list[Environment]] = {}  # by FunctionVersion.key; the most recently used last
        self._waiting: dict[str, deque[asyncio.Future[Environment]]] = {}
        self._all: dict[str, Environment] = {}
        self._retired: set[str] = set()
        self._places = max_environments
        self._place_freed = asyncio.Event()
        self._starting = 0
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._stock = Stock(self._make_stocked, lambda: not self._starting and self._places > 0, stock_size)
        self._tasks: set[asyncio.Task[None]] = set()
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
                    waiter.set_exception(ServiceError("Hanabi is shutting down"))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._destroy(each) for each in list(self._all.values())), return_exceptions=True)
        await self._driver.close()

    # --- the warm path ------------------------------------------------------------------------------------------------

    def idle(self, key: str) -> Environment | None:
        """The most recently used idle environment, or None."""
        shelf = self._idle.get(key)
        return shelf.pop() if shelf else None

    def release(self, environment: Environment, *, reusable: bool) -> None:
        """An invocation is over. A waiting one gets the environment at once, else it rests."""
        version = environment.version
        assert version is not None
        if not reusable or environment.doomed or version.key in self._retired or self._closing:
            self._discard(environment)
            return
        environment.rest()
        self._offer(version.key, environment)

    def _offer(self, key: str, environment: Environment) -> None:
        waiter = self._next_waiter(key)
        if waiter:
            waiter.set_result(environment)
        else:
            self._idle.setdefault(key, []).append(environment)

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

        Raises `InitFailed` when the function's init failed, `SandboxError` or `ImageError` when there can be no environment.
        """
        waiter: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(version.key, deque()).append(waiter)
        self._spawn(self._start_for_waiters(version))
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._offer(version.key, waiter.result())
            raise

    async def _start_for_waiters(self, version: FunctionVersion) -> None:
        async with self._starts:
            if not any(not waiter.done() for waiter in self._waiting.get(version.key, ())):
                return  # an environment came free meanwhile
            await self._start_for_waiter(version)

    async def _start_for_waiter(self, version: FunctionVersion) -> None:
        try:
            environment = await self.start(version, INIT_LIMIT_S)
        except (HanabiError, InitFailed, OSError) as error:
            waiter = self._next_waiter(version.key)
            if waiter:
                waiter.set_exception(error)
        else:
            environment.arm_freeze()
            self._offer(version.key, environment)

    async def start(self, version: FunctionVersion, limit_s: float, *, phase: str = "init") -> Environment:
        """A new environment of a version, its init done within the limit. Raises as `lease`."""
        self._starting += 1
        try:
            image = await self._ensure_image(version.runtime)
            stockable = version.tmp_mb == STOCK_TMP_MB and not (image.command and needs_own_start(version.environment))
            environment = self._stock.take(image) if stockable else None
            if environment is None:
                environment = await self._make(image, version.memory_mb, version.tmp_mb)
            return await self._initialize(environment, version, limit_s, phase)
        finally:
            self._starting -= 1
            self._stock.nudge()

    async def _initialize(self, environment: Environment, version: FunctionVersion, limit_s: float, phase: str) -> Environment:
        try:
            outcome = await environment.initialize(version, limit_s)
        except BaseException:
            self._discard(environment)
            raise
        if outcome.status != "success" or environment.doomed:
            environment.log_failed_init(outcome, phase)
            environment.flush()
            self._discard(environment)
            raise InitFailed(environment, outcome)
        return environment

    async def _make(self, image: RuntimeImage, memory_mb: int, tmp_mb: int) -> Environment:
        await self._take_place()
        try:
            spec = SandboxSpec(id=f"e{uuid.uuid4().hex[:20]}", image=image, memory_mb=memory_mb, tmp_mb=tmp_mb)
            environment = Environment(await self._driver.create(spec), image, self._host)
        except BaseException:
            self._free_place()
            raise
        environment.on_gone = self._discard
        self._all[environment.id] = environment
        return environment

    async def _make_stocked(self, image: RuntimeImage) -> Environment:
        environment = await self._make(image, STOCK_MEMORY_MB, STOCK_TMP_MB)
        try:
            if image.command:
                await environment.load()
        except BaseException:
            self._discard(environment)
            raise
        return environment

    def expect(self, image: RuntimeImage) -> None:
        """Functions of this runtime exist."""
        self._stock.expect(image)

    # --- places on the host -------------------------------------------------------------------------------------------

    async def _take_place(self) -> None:
        if self._places == 0:
            self._evict()
        async with asyncio.timeout(WAIT_LIMIT_S):
            while self._places == 0:
                self._place_freed.clear()
                await self._place_freed.wait()
        self._places -= 1

    def _free_place(self) -> None:
        self._places += 1
        self._place_freed.set()

    def _evict(self) -> None:
        """Make room: a stocked environment, else the one that has been idle longest."""
        victim = self._stock.give_up_one()
        if victim is None:
            victim = min((shelf[0] for shelf in self._idle.values() if shelf), key=lambda each: each.idle_since, default=None)
        if victim is not None:
            self._discard(victim)

    # --- ending -------------------------------------------------------------------------------------------------------

    def retire(self, key: str) -> None:
        """A version will never be invoked again: its environments go as soon as they are free."""
        self._retired.add(key)
        for environment in self._idle.pop(key, []):
            self._discard(environment)

    def _discard(self, environment: Environment) -> None:
        environment.doomed = True
        self._stock.remove(environment)
        if environment.version is not None:
            shelf = self._idle.get(environment.version.key, [])
            if environment in shelf:
                shelf.remove(environment)
        if environment.id in self._all:
            self._spawn(self._destroy(environment))

    async def _destroy(self, environment: Environment) -> None:
        if self._all.pop(environment.id, None) is None:
            return
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

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            log.error("fleet task failed", exc_info=task.exception())

    # --- looking ------------------------------------------------------------------------------------------------------

    def describe(self) -> list[dict[str, Any]]:
        """One row for each environment: what `hanabi ps` shows."""
        now = self._host.clock.monotonic()
        return [_row(each, now) for each in self._all.values()]


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
