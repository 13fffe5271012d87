"""The registry of this host's environments: each one's share of the budget, the collections it is in, and its end."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.tasks import Tasks
from hanabi.contracts.functions import FunctionVersion
from hanabi.environment.environment import Environment
from hanabi.errors import SandboxError, ShuttingDown, TooManyRequests
from hanabi.fleet.budget import Budget, Reservation
from hanabi.fleet.finishing import Finishing
from hanabi.fleet.idle import IdleEnvironments
from hanabi.fleet.pool import Pool
from hanabi.fleet.settings import FleetSettings
from hanabi.fleet.targets import Targets


class Environments:
    """The registry. A discarded environment leaves all collections at once, and the budget when it has ended."""

    def __init__(self, settings: FleetSettings, clock: Clock) -> None:
        self.changed = asyncio.Event()  # set when a refill of the pool may be possible or needed
        self.budget = Budget(settings.max_environments, settings.max_memory_mb, clock)
        self.idle = IdleEnvironments()
        self.finishing = Finishing(clock)
        self.pool = Pool(settings.pool_size, self.changed)
        self.targets = Targets()
        self.pooled_died = False  # a pooled one ended by itself: refills must not repeat that without a pause
        self.stopped = False  # no invocation may begin any more
        self.closing = False
        self._clock = clock
        self._all: dict[str, Environment] = {}
        self._reservations: dict[Environment, Reservation] = {}  # of those that are being ended too
        self._ending = Tasks("fleet")  # never cancelled: a partial destruction leaves things behind

    def __iter__(self) -> Iterator[Environment]:
        """Iterate over a copy: environments may be discarded meanwhile."""
        return iter(list(self._all.values()))

    def __contains__(self, environment: Environment) -> bool:
        """Whether an environment has not been discarded."""
        return environment.id in self._all

    def refuse_when_closing(self) -> None:
        """Raise `ShuttingDown` when closing: an invocation that is being ended may ask for another environment."""
        if self.closing:
            raise ShuttingDown()

    def check_tenant(self, version: FunctionVersion) -> None:
        """Check that a function with tenant isolation may have one more environment: for a tenant, and not too many.

        Raises `TooManyRequests`.
        """
        if not version.tenant:
            raise SandboxError(f"{version.arn} has tenant isolation, and no environment without a tenant")
        count = sum(each.version is not None and each.version.arn == version.arn and each.version.tenant != "" for each in self)
        if count >= version.tenant_environments_max:
            raise TooManyRequests("ConcurrentInvocationLimitExceeded", "Rate exceeded")

    # --- room -----------------------------------------------------------------------------------------------------------

    def has_room_for(self, memory_mb: int) -> bool:
        """Whether a reservation would be given at once."""
        return self.budget.fits(memory_mb)

    async def reserve(self, memory_mb: int, *, pinned: bool, wanted: Callable[[], bool]) -> Reservation | None:
        """Reserve room for one more, evicting others if need be; None when it is no longer wanted by then.

        Pass the reservation to `add`, or give it back. Raises as `Budget.claim` and `wait`.
        """
        claim = self.budget.claim(memory_mb, pinned=pinned, wanted=wanted)
        if not claim.granted.done():
            self.make_room()
        return await self.budget.wait(claim)

    def resize(self, environment: Environment, memory_mb: int, *, pinned: bool) -> bool:
        """See `Budget.resize`."""
        return self.budget.resize(self._reservations[environment], memory_mb, pinned=pinned)

    def give_back(self, reservation: Reservation) -> None:
        self.budget.give_back(reservation)
        self.changed.set()

    def reserved_mb(self, environment: Environment) -> int:
        return self._reservations[environment].memory_mb

    def make_room(self) -> None:
        """Evict for waiting claims: pooled environments first, then those idle longest; never provisioned ones."""
        while len(self.pool) or len(self.idle):
            places, memory_mb = self.budget.shortage()
            if places <= 0 and memory_mb <= 0:
                return
            if not self.give_up_one(weigh_memory=memory_mb > 0):
                return

    def give_up_one(self, *, weigh_memory: bool) -> bool:
        """Evict the one needed least. False when there is none."""
        victim = self.pool.evict_one() or self.idle.eviction_candidate(self._clock.monotonic(), weigh_memory=weigh_memory)
        if victim is not None:
            self.discard(victim)
        return victim is not None

    # --- from the first to the last -------------------------------------------------------------------------------------

    def add(self, environment: Environment, reservation: Reservation) -> None:
        self._all[environment.id] = environment
        self._reservations[environment] = reservation

    def discard(self, environment: Environment) -> None:
        """End an environment, whatever it is doing. Idempotent."""
        environment.discard()
        if self._all.pop(environment.id, None) is None:
            return
        self.pool.remove(environment)
        self.idle.remove(environment)
        self.finishing.remove(environment)
        self.targets.remove(environment)
        self.budget.release_soon(self._reservations[environment])
        self._ending.spawn(self._destroy(environment))

    async def _destroy(self, environment: Environment) -> None:
        try:
            await environment.destroy()
        finally:
            self.give_back(self._reservations.pop(environment))

    async def close(self) -> None:
        """Destroy every environment."""
        for environment in self:
            self.discard(environment)
        await self._ending.join()

    # --- in use ---------------------------------------------------------------------------------------------------------

    def code_in_use(self) -> set[Path]:
        """Return the code and the merged layers that environments run, even if replaced or deleted meanwhile."""
        versions = [each.version for each in self if each.version is not None]
        return {directory for version in versions for directory in (version.code, version.opt) if directory is not None}

    def images_in_use(self) -> set[str]:
        """Return the digests of the images that environments run on."""
        return {each.image.digest for each in self}
