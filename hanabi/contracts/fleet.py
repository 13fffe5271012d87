"""The invoker's view of the fleet: leasing environments, and what it needs of one."""

from typing import Protocol

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.invocation import Invocation, OnEnd, Outcome


class InitFailed(Exception):
    """A failed init of a function: its complete outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error_type)
        self.outcome = outcome


class Lease(Protocol):
    """An environment reserved for one invocation, until it is released."""

    def invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """Run an invocation, including an init within it. Never raises: a failure is an outcome, too."""

    async def reset(self) -> bool:
        """Reset an environment that cannot be reused as it is: end its processes, keep its sandbox. False: it must end."""

    def release(self, *, reusable: bool) -> None:
        """Give the environment back: the next invocation of its version gets it, or it ends."""


class Fleet(Protocol):
    """The environments of this node; one implementation: `hanabi.fleet.fleet`."""

    def take_idle(self, key: str) -> Lease | None:
        """An idle environment of a `FunctionVersion.key`, or None. Raises `ShuttingDown`."""

    async def lease(self, version: FunctionVersion) -> Lease:
        """Lease a new environment, or one that is released before the new one is ready.

        Raises `InitFailed`, `SandboxError` or `ImageError` when there can be no environment, `TooManyRequests` when this host stays full.
        """

    async def start(self, version: FunctionVersion, limit_s: float, *, phase: str) -> Lease:
        """Start a new environment, its init done within the limit. Raises as `lease`. `phase` "invoke": init is part of an invocation."""
