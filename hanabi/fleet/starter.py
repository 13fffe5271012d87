"""Starts an environment of a version: from hibernation, its snapshot, the pool, or a new sandbox; then runs its init."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from hanabi.base.clock import Clock
from hanabi.contracts.fleet import InitFailed
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.environment.environment import Environment
from hanabi.environment.variables import needs_own_start, preload_of
from hanabi.errors import SandboxError
from hanabi.fleet import start_log
from hanabi.fleet.environments import Environments
from hanabi.fleet.hibernation import Hibernation
from hanabi.fleet.maker import Maker
from hanabi.fleet.restores import Restores
from hanabi.fleet.start_limiter import StartLimiter
from hanabi.quotas import LONG_INIT_TIMEOUT_S, TIMEOUT_MAX_S, TMP_MIN_MB

EnsureImage = Callable[[FunctionVersion], Awaitable[RuntimeImage]]
"""What environments of a version are started on. Raises `ImageError`, or `ResourceConflict` when its code is not there."""
log = logging.getLogger(__name__)


class Purpose(Enum):
    """What an environment is started for."""

    INVOCATION = "invocation"  # a caller waits for it
    PROVISIONED = "provisioned"  # to be kept for a version with provisioned concurrency
    SNAPSHOT = "snapshot"  # to be the snapshot of a version with SnapStart


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A start: the version, the limit of its init, and whether it is still wanted."""

    version: FunctionVersion
    limit_s: float
    purpose: Purpose = Purpose.INVOCATION
    phase: str = "init"  # in INIT_REPORT: "invoke" where the init is part of the invocation
    wanted: Callable[[], bool] = lambda: True


def init_limit_s(version: FunctionVersion) -> float:
    """Return the limit of an init that no caller waits for: the function's timeout, within bounds."""
    return min(max(version.timeout_s, LONG_INIT_TIMEOUT_S), TIMEOUT_MAX_S)


class Starter:
    """The starter. Every environment that becomes ready for invocations comes from `start`."""

    def __init__(
        self,
        environments: Environments,
        maker: Maker,
        hibernation: Hibernation,
        restores: Restores,
        limiter: StartLimiter,
        clock: Clock,
        ensure_image: EnsureImage,
    ) -> None:
        self._environments = environments
        self._maker = maker
        self._hibernation = hibernation
        self._restores = restores
        self._limiter = limiter
        self._clock = clock
        self._ensure_image = ensure_image

    async def start(self, request: StartRequest) -> Environment | None:
        """Start an environment of a version and return it ready; None when it is no longer wanted.

        Raises `InitFailed` when the function's init failed, `SandboxError` or `ImageError` when none can be started,
        `TooManyRequests` when this host stays full.
        """
        began = self._clock.monotonic()
        image = await self._ensure_image(request.version)
        async with self._limiter.slot():
            if not request.wanted():
                return None
            environment = await self._bring_up(image, request)
        if environment is not None:
            start_log.log_start(environment, self._clock.monotonic() - began)
        return environment

    async def _bring_up(self, image: RuntimeImage, request: StartRequest) -> Environment | None:
        version, wanted = request.version, request.wanted
        if request.purpose is Purpose.INVOCATION:  # else it has an init of its own
            if (hibernated := self._hibernation.take(version.key)) is not None:
                try:
                    return await self._restores.resume(image, hibernated, wanted)
                except SandboxError as error:
                    log.warning("environment %s of %s is lost: %s", hibernated.id, version.name, error)
            if version.snapshot is not None:
                try:
                    return await self._restores.restore(self._for_copies(image), version, wanted)
                except SandboxError as error:
                    log.warning("%s:%s starts without its snapshot: %s", version.name, version.version, error)
        environment = await self._find(self._for_copies(image) if request.purpose is Purpose.SNAPSHOT else image, request)
        if environment is None:
            return None
        environment.provisioned = request.purpose is Purpose.PROVISIONED
        environment.snap_start = request.purpose is Purpose.SNAPSHOT
        return await self._initialize(environment, request)

    def _for_copies(self, image: RuntimeImage) -> RuntimeImage:
        """What a version with a snapshot starts on."""
        return image.for_copies or image if self._maker.copies_processes else image

    async def _find(self, image: RuntimeImage, request: StartRequest) -> Environment | None:
        """Get one without a function: from the pool if one fits, else a new one."""
        version, pinned = request.version, request.purpose is Purpose.PROVISIONED
        own_start = version.container is not None or (bool(image.command) and needs_own_start(version.environment))
        own_start = own_start or bool(version.file_systems)  # a process may write to what was mounted when it was started
        if version.tmp_mb == TMP_MIN_MB and not own_start:
            pooled = self._maker.take_pooled(image, version.memory_mb, pinned=pinned)
            if pooled is not None:
                return pooled
        preload = None if own_start else preload_of(image)
        return await self._maker.make(image, version.memory_mb, version.tmp_mb, request.wanted, preload=preload, pinned=pinned)

    async def _initialize(self, environment: Environment, request: StartRequest) -> Environment:
        try:
            outcome = await environment.initialize(request.version, request.limit_s, request.phase)
        except BaseException:
            self._environments.discard(environment)
            raise
        if outcome.status != "success":
            self._environments.discard(environment)
            raise InitFailed(outcome)
        return environment
