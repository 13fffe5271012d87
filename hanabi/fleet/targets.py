"""The targets of provisioned concurrency, by version, and what each has."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hanabi.contracts.functions import Allocation, FunctionVersion
from hanabi.environment.environment import Environment


@dataclass(slots=True, eq=False)
class Target:
    """The target of one version, and what it has."""

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
        """Forget the failure: the target is reached, or is tried again."""
        self.failures, self.failure, self.complete = 0, None, self.missing <= 0


class Targets:
    """The targets, by `FunctionVersion.key`. `on_allocated` gets a version's allocation whenever it changes; None: no target any more."""

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
        """Remove the target of a version and return it. None: it had none."""
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
        """Remove an environment that is being ended. Idempotent."""
        target = self._of(environment)
        if target is not None:
            target.members.remove(environment)
            self._tell(target)
            if not target.failures:  # else it waits for its next attempt
                target.woken.set()

    def is_wanted(self, environment: Environment) -> bool:
        """Whether an environment that becomes free is still to be kept."""
        target = self._of(environment)
        return target is not None and target.missing >= 0

    def may_replace(self, environment: Environment) -> bool:
        """Whether an old environment may be replaced now: one at a time."""
        target = self._of(environment)
        return target is None or target.missing <= 0

    def _of(self, environment: Environment) -> Target | None:
        target = self._targets.get(environment.version.key) if environment.version else None
        return target if target is not None and environment in target.members else None

    def _tell(self, target: Target) -> None:
        self.on_allocated(target.version, len(target.members))
