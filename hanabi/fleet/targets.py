"""What versions with provisioned concurrency are to have, and have."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.environment.environment import Environment


@dataclass(slots=True, eq=False)
class Target:
    """What one version is to have, and has."""

    version: FunctionVersion
    count: int = 0
    members: set[Environment] = field(default_factory=set)
    failures: int = 0  # in a row
    failure: str | None = None  # once it has failed
    complete: bool = False  # it had all since it was asked for
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None  # fills it

    @property
    def missing(self) -> int:
        return self.count - len(self.members)

    @property
    def allocation(self) -> Allocation:
        return Allocation(len(self.members), self.complete, self.failure)

    def succeeded(self) -> None:
        """It has all, or is tried anew."""
        self.failures, self.failure, self.complete = 0, None, self.missing <= 0


class Targets:
    """By `FunctionVersion.key`. `on_allocated` is told what a version has whenever that changes; None: it is to have none any more."""

    def __init__(self) -> None:
        self.on_allocated: Callable[[FunctionVersion, int | None], None] = lambda version, count: None
        self._targets: dict[str, Target] = {}

    def __iter__(self) -> Iterator[Target]:
        return iter(self._targets.values())

    def get(self, key: str) -> Target | None:
        return self._targets.get(key)

    def open(self, version: FunctionVersion) -> Target:
        target = self._targets[version.key] = Target(version)
        self._tell(target)
        return target

    def close(self, key: str) -> Target | None:
        """A version is to have none any more. None: it had no target."""
        target = self._targets.pop(key, None)
        if target is not None:
            self.on_allocated(target.version, None)
        return target

    def is_open(self, target: Target) -> bool:
        return self._targets.get(target.version.key) is target

    def add(self, target: Target, environment: Environment) -> None:
        target.members.add(environment)
        self._tell(target)

    def remove(self, environment: Environment) -> None:
        """One is being ended, for whatever reason. One that is not there is no error."""
        target = self._of(environment)
        if target is not None:
            target.members.remove(environment)
            self._tell(target)
            if not target.failures:  # else it waits for its next attempt
                target.woken.set()

    def is_wanted(self, environment: Environment) -> bool:
        """Whether one that comes free is still to be kept."""
        target = self._of(environment)
        return target is not None and target.missing >= 0

    def may_replace(self, environment: Environment) -> bool:
        """Whether an old one may go now: one at a time."""
        target = self._of(environment)
        return target is None or target.missing <= 0

    def _of(self, environment: Environment) -> Target | None:
        target = self._targets.get(environment.version.key) if environment.version else None
        return target if target is not None and environment in target.members else None

    def _tell(self, target: Target) -> None:
        self.on_allocated(target.version, len(target.members))
