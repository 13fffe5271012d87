"""Makes environments: reserves room, creates the sandbox, and loads the bootstrap before a function is known."""

import uuid
from collections.abc import Callable
from pathlib import Path

from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver, Preload, SandboxSpec
from hanabi.environment.environment import Environment
from hanabi.environment.shared import SharedServices
from hanabi.environment.variables import preload_of
from hanabi.fleet import start_log
from hanabi.fleet.environments import Environments
from hanabi.fleet.handover import Handover
from hanabi.quotas import TMP_MIN_MB


class Maker:
    """The maker. Every environment is made here, and is in the registry from then on."""

    def __init__(self, driver: Driver, shared: SharedServices, environments: Environments, handover: Handover) -> None:
        self._driver = driver
        self._shared = shared
        self._environments = environments
        self._handover = handover

    @property
    def copies_processes(self) -> bool:
        """Whether a snapshot is of a process, of which any sandbox of its image can get a copy."""
        return self._driver.copies_processes

    @property
    def pooled_mb(self) -> int:
        """Return what a pooled environment takes of the budget, in MB."""
        return self._driver.pool_memory_mb + self._driver.overhead_mb

    async def make(
        self,
        image: RuntimeImage,
        memory_mb: int,
        tmp_mb: int,
        wanted: Callable[[], bool],
        *,
        preload: Preload | None = None,
        pinned: bool = False,
        snapshot: Path | None = None,
        background: bool = False,
    ) -> Environment | None:
        """Make an environment with a new sandbox; None when it is no longer wanted once there is room."""
        environments = self._environments
        reservation = await environments.reserve(memory_mb + self._driver.overhead_mb, pinned=pinned, wanted=wanted)
        if reservation is None:
            return None
        try:
            environments.refuse_when_closing()
            if not wanted():
                environments.give_back(reservation)
                return None
            id = f"e{uuid.uuid4().hex[:20]}"
            spec = SandboxSpec(
                id=id, image=image, memory_mb=memory_mb, tmp_mb=tmp_mb, preload=preload, snapshot=snapshot, background=background
            )
            environment = Environment(await self._driver.create(spec), image, self._shared)
        except BaseException:
            environments.give_back(reservation)
            raise
        environment.on_gone = self._handover.on_gone
        environment.on_released = self._handover.release
        environments.add(environment, reservation)
        if environment.sandbox.preloaded:
            await self._load(environment)
        return environment

    async def make_pooled(self, image: RuntimeImage) -> Environment:
        """Make one without a function, its bootstrap loaded."""
        preload = preload_of(image)
        environment = await self.make(image, self._driver.pool_memory_mb, TMP_MIN_MB, lambda: True, preload=preload, background=True)
        assert environment is not None
        environment.origin = start_log.POOL_HIT
        if image.command:
            await self._load(environment)
        return environment

    def take_pooled(self, image: RuntimeImage, memory_mb: int, *, pinned: bool) -> Environment | None:
        """Take a pooled environment, or None. Its reservation is resized to what the function needs."""

        def fits(pooled: Environment) -> bool:
            limit_mb = pooled.sandbox.memory_limit_mb
            if limit_mb is not None and limit_mb < memory_mb:
                return False
            return self._environments.resize(pooled, memory_mb + self._driver.overhead_mb, pinned=pinned)

        return self._environments.pool.take(image, fits)

    async def _load(self, environment: Environment) -> None:
        try:
            await environment.load()
        except BaseException:
            self._environments.discard(environment)
            raise
