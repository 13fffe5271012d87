"""Where the invoker gets environments from, and all that it knows of one."""

from typing import Protocol

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.invocation import Invocation, OnEnd, Outcome


class InitFailed(Exception):
    """A function's init failed: how it ended, complete."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.error_type)
        self.outcome = outcome


class Lease(Protocol):
    """An environment that is one invocation's, from when it was taken until it is released."""

    def invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """Run an invocation; the time that an init takes within it is part of it. Never raises: trouble is an outcome, too."""

    async def reset(self) -> bool:
        """After an end that left it not reusable: end its processes, keep its sandbox. False: it is of no use any more."""

    def release(self, *, reusable: bool) -> None:
        """Give it back: the next invocation of its version gets it, or it ends."""


class Fleet(Protocol):
    """The environments of this node; one implementation: `hanabi.fleet.fleet`."""

    def take_idle(self, key: str) -> Lease | None:
        """An idle environment of a `FunctionVersion.key`, or None. Raises `ShuttingDown`."""

    async def lease(self, version: FunctionVersion) -> Lease:
        """A new environment, or one that comes free before it is ready.

        Raises `InitFailed`, `SandboxError` or `ImageError` when there can be no environment, `TooManyRequests` when this host stays full.
        """

    async def start(self, version: FunctionVersion, limit_s: float, *, phase: str) -> Lease:
        """A new environment, its init done within the limit. Raises as `lease`. `phase` "invoke": its init is part of the invocation."""
