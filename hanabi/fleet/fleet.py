"""The execution environments of this host: found, started, handed out, taken back, reaped."""

import asyncio
import logging
import os
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from hanabi.base.health import Health
from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver, Preload, SandboxSpec
from hanabi.environment.environment import Environment
from hanabi.environment.outcome import InitFailed
from hanabi.environment.shared import SharedServices
from hanabi.environment.variables import needs_own_start, preload_of
from hanabi.errors import SandboxError, ShuttingDown
from hanabi.fleet import start_log
from hanabi.fleet.budget import Budget, Reservation
from hanabi.fleet.finishing import Finishing
from hanabi.fleet.hibernation import Hibernation
from hanabi.fleet.idle import IdleEnvironments
from hanabi.fleet.listing import describe_budget, describe_environment, describe_hibernated
from hanabi.fleet.pool import Pool
from hanabi.fleet.pressure import MemoryReading, Pressure
from hanabi.fleet.provisioned import INIT_LIMIT_MAX_S, INIT_LIMIT_MIN_S, Provisioned
from hanabi.fleet.reaper import Reaper, trim
from hanabi.fleet.restores import Restores
from hanabi.fleet.start_limiter import StartLimiter

INIT_LIMIT_S = 10.0  # AWS Lambda developer guide, "Init phase"
POOL_MEMORY_MB = 1024  # cap of an environment that has no function yet
POOL_TMP_MB = 512  # the default /tmp
CONCURRENT_STARTS = max(2, os.cpu_count() or 1)
RETIRED_KEPT = 4096  # keys: each matters only as long as an invocation that began before its end
log = logging.getLogger(__name__)


class Fleet:
    """Owns every environment. `idle` and `release` are the warm path; `lease` waits for a start."""

    def __init__(
        self,
        driver: Driver,
        ensure_image: Callable[[FunctionVersion], Awaitable[RuntimeImage]],
        shared: SharedServices,
        *,
        max_environments: int,
        max_memory_mb: int,
        pool_size: int = 2,
        pool_memory_mb: int = POOL_MEMORY_MB,
        idle_timeout_s: float = 600.0,
        trim_after_s: float = 30.0,
        hibernate_after_s: float = 300.0,
        hibernate_to: Path | None = None,  # None, or a driver without snapshots: none is hibernated
        read_memory: Callable[[], MemoryReading] | None = None,  # None: whether memory is scarce is not looked at
        health: Health | None = None,
    ) -> None:
        health = health or Health(shared.clock)
        self._driver = driver
        self._ensure_image = ensure_image
        self._shared = shared
        self._pool_memory_mb = pool_memory_mb
        self._idle = IdleEnvironments()
        self._waiting: dict[str, deque[asyncio.Future[Environment]]] = {}  # by FunctionVersion.key
        self._starting: Counter[str] = Counter()  # starts under way for those who wait, by key
        self._all: dict[str, Environment] = {}
        self._reservations: dict[Environment, Reservation] = {}  # of the budget
        self._retired: dict[str, None] = {}  # in order
        self._budget = Budget(max_environments, max_memory_mb, shared.clock, self._make_room)
        self._pressure = Pressure(read_memory) if read_memory else None
        self._pool = Pool(self._make_pooled, self._may_refill, self._make_room, pool_size, health)
        self._start_limiter = StartLimiter(CONCURRENT_STARTS, shared.clock, self._pool.wake)
        self._provisioned = Provisioned(
            self._idle,
            shared.clock,
            start=lambda version, limit_s, wanted: self._start(version, limit_s, "init", wanted, provisioned=True),
            offer=self._offer,
            discard=self._discard,
            spawn=self._spawn,
            health=health,
        )
        self._hibernation = Hibernation(hibernate_to if driver.can_snapshot else None, self._idle, shared.clock, shared.credentials, health)
        self.restores = Restores(self._make, self._discard, self._hibernation, shared.clock)
        self._reaper = Reaper(
            self._idle,
            self._pool,
            shared.clock,
            pressure=self._pressure,
            discard=self._discard,
            trim=lambda environment: self._spawn(trim(environment)),
            may_replace=lambda environment: not environment.provisioned or self._provisioned.may_replace(environment),
            idle_timeout_s=idle_timeout_s,
            trim_after_s=trim_after_s,
            hibernation=self._hibernation,
            hibernate=lambda environment: self._spawn(self._hibernation.put(environment, self._discard)),
            hibernate_after_s=hibernate_after_s,
            health=health,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending: set[asyncio.Task[Any]] = set()  # never cancelled: half a destruction leaves something behind
        self._stopped = False  # no invocation may begin any more
        self._finishing = Finishing(shared.clock)
        self._closing = False

    async def open(self) -> None:
        await self._driver.open()
        self._spawn(self._pool.run(self._shared.clock.sleep))
        self._spawn(self._reaper.run())

    async def close(self) -> None:
        """Destroy every environment. Whoever waits for one is told."""
        self._closing = True
        self.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._starting.clear()  # of those that never began
        for environment in list(self._all.values()):
            self._discard(environment)
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)
        await self._hibernation.close()
        await self._driver.close()

    def abort(self) -> None:
        """End every invocation now: whoever waits is told, whoever runs is ended, recorded and told, and no other one begins."""
        self._stopped = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(ShuttingDown())
        for environment in list(self._all.values()):
            environment.abort()

    def _refuse_when_closing(self) -> None:
        """A function that is being ended may have asked for another one."""
        if self._closing:
            raise ShuttingDown()

    # --- the warm path ------------------------------------------------------------------------------------------------

    def idle(self, key: str) -> Environment | None:
        """A provisioned idle environment, else the most recently used, or None."""
        if self._stopped:
            raise ShuttingDown()
        while (environment := self._idle.take(key)) is not None:
            if not environment.to_destroy:
                return environment
            self._discard(environment)
        return None

    def release(self, environment: Environment, *, reusable: bool) -> None:
        """An invocation is over. A waiting one gets the environment at once, else it rests."""
        if not reusable or environment.to_destroy:
            self._gone(environment, reset=reusable)
        elif environment.ready:
            environment.mark_idle()
            self._offer(environment)
        else:
            self._finishing.put(environment, lambda: self.release(environment, reusable=True))

    def _offer(self, environment: Environment) -> None:
        version = environment.version
        assert version is not None
        if environment.to_destroy or self._closing:
            self._discard(environment)
        elif self._budget.overdue and environment.invocations and not environment.provisioned:
            self._discard(environment)  # else those who keep it busy would never let a larger one in
        elif waiter := self._next_waiter(version.key):
            waiter.set_result(environment)
        elif version.key in self._retired or (environment.provisioned and not self._provisioned.is_wanted(environment)):
            self._discard(environment)
        else:
            self._idle.put(environment)
            environment.arm_freeze()
            if self._budget.contended:
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
        if self._stopped:
            raise ShuttingDown()
        waiter: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(version.key, deque())
        waiters.append(waiter)
        self._starting[version.key] += 1
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
            self._budget.review()  # a start for it may be waiting still

    async def _start_for_waiter(self, version: FunctionVersion) -> None:
        try:
            try:
                await self._finishing.grace(version.key)
                environment = await self._start(version, INIT_LIMIT_S, "init", lambda: self._is_awaited(version.key))
            finally:  # at the very moment: who is counted decides who is wanted
                self._starting[version.key] -= 1
                if not self._starting[version.key]:
                    del self._starting[version.key]
        except Exception as error:
            if waiter := self._next_waiter(version.key):
                waiter.set_exception(error)
        else:
            if environment is not None:
                self._offer(environment)

    def _is_awaited(self, key: str) -> bool:
        """Whether no fewer wait than there are starts under way: environments that come free may have served some of them."""
        return len(self._waiting.get(key, ())) >= self._starting[key]

    async def start(self, version: FunctionVersion, limit_s: float, *, phase: str, snap_start: bool = False) -> Environment:
        """A new environment of a version, its init done within the limit. Raises as `lease`."""
        self._refuse_when_closing()
        if self._stopped and not snap_start:
            raise ShuttingDown()
        starting = self._start(version, limit_s, phase, lambda: True, snap_start=snap_start)
        task = asyncio.create_task(starting)
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

    async def _start(
        self, version: FunctionVersion, limit_s: float, phase: str, wanted: Callable[[], bool], **ahead: bool
    ) -> Environment | None:
        """As `start`, or None when it is no longer wanted."""
        began = self._shared.clock.monotonic()
        if (environment := await self._make_ready(version, limit_s, phase, wanted, **ahead)) is not None:
            start_log.log_start(environment, self._shared.clock.monotonic() - began)
        return environment

    async def _make_ready(
        self,
        version: FunctionVersion,
        limit_s: float,
        phase: str,
        wanted: Callable[[], bool],
        *,
        provisioned: bool = False,
        snap_start: bool = False,
    ) -> Environment | None:
        image = await self._ensure_image(version)
        async with self._start_limiter.slot():
            if not wanted():
                return None
            ahead = provisioned or snap_start  # of its invocations: it has an init of its own
            if not ahead and (hibernated := self._hibernation.take(version.key)) is not None:
                try:
                    return await self.restores.resume(image, hibernated, wanted)
                except SandboxError as error:
                    log.warning("environment %s of %s is lost: %s", hibernated.id, version.name, error)
            if not ahead and version.snapshot is not None:
                try:
                    return await self.restores.restore(image, version, wanted)
                except SandboxError as error:
                    log.warning("%s:%s starts without its snapshot: %s", version.name, version.version, error)
            own_start = version.container is not None or (bool(image.command) and needs_own_start(version.environment))
            poolable = version.tmp_mb == POOL_TMP_MB and not own_start
            environment = self._pool.take(image, lambda each: self._fits(each, version, provisioned)) if poolable else None
            if environment is None:
                preload = None if own_start else preload_of(image)
                environment = await self._make(image, version.memory_mb, version.tmp_mb, wanted, preload, pinned=provisioned)
            if environment is None:
                return None
            environment.provisioned, environment.snap_start = provisioned, snap_start
            return await self._initialize(environment, version, limit_s, phase)

    async def _initialize(self, environment: Environment, version: FunctionVersion, limit_s: float, phase: str) -> Environment:
        try:
            outcome = await environment.initialize(version, limit_s)
        except BaseException:
            self._discard(environment)
            raise
        if outcome.status != "success":
            environment.log_init(outcome, phase)
            environment.log.flush()
            self._discard(environment)
            raise InitFailed(environment, outcome)
        if environment.provisioned or environment.snap_start:
            environment.log_init(outcome)
        return environment

    async def snapshot(self, version: FunctionVersion, directory: Path) -> None:
        """Initialise a version and write its environment into a directory. Raises `InitFailed`, `SandboxError` and the like."""
        limit_s = min(max(version.timeout_s, INIT_LIMIT_MIN_S), INIT_LIMIT_MAX_S)
        environment = await self.start(version, limit_s, phase="init", snap_start=True)
        try:
            environment.log.flush()
            await environment.snapshot(directory)
        finally:
            self._discard(environment)

    def _fits(self, pooled: Environment, version: FunctionVersion, pinned: bool) -> bool:
        """Whether a pooled environment can be this version's; then it has from the budget what the version needs."""
        limit_mb = pooled.sandbox.memory_limit_mb
        if limit_mb is not None and limit_mb < version.memory_mb:
            return False
        return self._budget.resize(self._reservations[pooled], version.memory_mb + self._driver.overhead_mb, pinned=pinned)

    async def _make(
        self,
        image: RuntimeImage,
        memory_mb: int,
        tmp_mb: int,
        wanted: Callable[[], bool],
        preload: Preload | None,
        *,
        pinned: bool = False,
        snapshot: Path | None = None,
    ) -> Environment | None:
        """A sandbox with nothing in it; None when it is no longer wanted by the time there is room."""
        reservation = await self._budget.take(memory_mb + self._driver.overhead_mb, pinned=pinned, wanted=wanted)
        if reservation is None:
            return None
        try:
            self._refuse_when_closing()
            if not wanted():
                self._give_back(reservation)
                return None
            id = f"e{uuid.uuid4().hex[:20]}"
            spec = SandboxSpec(id=id, image=image, memory_mb=memory_mb, tmp_mb=tmp_mb, preload=preload, snapshot=snapshot)
            environment = Environment(await self._driver.create(spec), image, self._shared)
        except BaseException:
            self._give_back(reservation)
            raise
        environment.on_gone = self._gone
        self._all[environment.id] = environment
        self._reservations[environment] = reservation
        if environment.sandbox.preloaded:
            await self._load(environment)
        return environment

    async def _load(self, environment: Environment) -> None:
        try:
            await environment.load()
        except BaseException:
            self._discard(environment)
            raise

    async def _make_pooled(self, image: RuntimeImage) -> Environment:
        environment = await self._make(image, self._pool_memory_mb, POOL_TMP_MB, lambda: True, preload_of(image))
        assert environment is not None
        environment.origin = start_log.POOL_HIT
        if image.command:
            await self._load(environment)
        return environment

    def keep_pool_for(self, image: RuntimeImage) -> None:
        """Functions of this runtime exist."""
        self._pool.keep_for(image)

    # --- provisioned concurrency ----------------------------------------------------------------------------------------

    def provision(self, version: FunctionVersion, count: int) -> None:
        """Keep so many environments of a version initialised from now on; 0: none."""
        if not self._closing:
            self._provisioned.want(version, count)

    def allocation(self, key: str) -> Allocation:
        """What a version has of that."""
        return self._provisioned.allocation(key)

    def on_allocated(self, callback: Callable[[FunctionVersion, int | None], None]) -> None:
        """Call back with what a version has whenever that changes; None: it is to have none any more."""
        self._provisioned.on_allocated = callback

    # --- room on the host ---------------------------------------------------------------------------------------------

    def _give_back(self, reservation: Reservation) -> None:
        self._budget.give_back(reservation)
        self._pool.wake()

    def _may_refill(self) -> bool:
        """Whether the pool may take one more: nobody waits for a start or for room, and memory is not scarce."""
        scarce = self._pressure is not None and self._pressure.high
        return not self._start_limiter.busy and not scarce and self._budget.fits(self._pool_memory_mb + self._driver.overhead_mb)

    def _make_room(self) -> None:
        """End what is needed least, for those who wait: pooled environments, else those idle longest; provisioned ones never."""
        now = self._shared.clock.monotonic()
        while len(self._pool) or len(self._idle):
            places, memory_mb = self._budget.shortage()
            if places <= 0 and memory_mb <= 0:
                return
            victim = self._pool.evict_one() or self._idle.eviction_candidate(now, weigh_memory=memory_mb > 0)
            if victim is None:
                return
            self._discard(victim)

    # --- ending -------------------------------------------------------------------------------------------------------

    def retire(self, key: str) -> None:
        """A version will never be invoked again: its environments go as soon as they are free."""
        self._retired[key] = None
        if len(self._retired) > RETIRED_KEPT:
            del self._retired[next(iter(self._retired))]
        self._provisioned.forget(key)
        self._hibernation.retire(key)
        for environment in self._idle.of(key):
            self._discard(environment)

    def _gone(self, environment: Environment, reset: bool = False) -> None:
        """It ended by itself. `reset`: a function's may go on with its sandbox, if that can be."""
        if environment.version is None:
            self._pool.on_member_died()
        if reset and environment.version is not None and not environment.provisioned and environment.id in self._all:
            self._idle.remove(environment)
            self._spawn(self._finishing.reset(environment, self.release))
        else:
            self._discard(environment)

    def _discard(self, environment: Environment) -> None:
        """End an environment, whatever it is doing. More than once is no error."""
        environment.to_destroy = True
        if self._all.pop(environment.id, None) is None:
            return
        self._pool.remove(environment)
        self._idle.remove(environment)
        self._finishing.remove(environment)
        self._budget.release_soon(self._reservations[environment])
        if environment.provisioned:
            self._provisioned.lost(environment)
        self._spawn(self._destroy(environment), self._ending)

    async def _destroy(self, environment: Environment) -> None:
        try:
            await environment.destroy()
        finally:
            self._give_back(self._reservations.pop(environment))

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: "set[asyncio.Task[Any]] | None" = None) -> "asyncio.Task[None]":
        tasks = self._tasks if tasks is None else tasks
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_report)
        return task

    def code_in_use(self) -> set[Path]:
        """The code that environments run, be it replaced or deleted meanwhile."""
        return {each.version.code for each in self._all.values() if each.version is not None and each.version.code is not None}

    def images_in_use(self) -> set[str]:
        """The digests of the images that environments run on."""
        return {each.image.digest for each in self._all.values()}

    # --- looking ------------------------------------------------------------------------------------------------------

    def describe(self) -> list[dict[str, Any]]:
        """One row for each environment: what `hanabi ps` shows."""
        now = self._shared.clock.monotonic()
        living = (describe_environment(each, self._reservations[each].memory_mb, now) for each in self._all.values())
        return [*living, *(describe_hibernated(each, now) for each in self._hibernation)]

    def describe_provisioned(self) -> list[tuple[FunctionVersion, int, Allocation]]:
        """(version, how many are wanted, what there is) of each with provisioned concurrency."""
        return self._provisioned.describe()

    def describe_budget(self) -> dict[str, Any]:
        return describe_budget(self._budget, self._pressure is not None and self._pressure.high)


def _report(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("fleet task failed", exc_info=error)
