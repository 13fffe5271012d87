"""The environments that wait for work, by version: the most recently used last, provisioned ones after all others."""

from collections.abc import Iterator

from hanabi.environment.environment import Environment


class Idle:
    """`take` and `put` are the warm path."""

    def __init__(self) -> None:
        self._shelves: dict[str, list[Environment]] = {}

    def take(self, key: str) -> Environment | None:
        """The one to use next: provisioned if there is such, else the most recently used. It may have died meanwhile."""
        shelf = self._shelves.get(key)
        return shelf.pop() if shelf else None

    def put(self, environment: Environment) -> None:
        assert environment.version is not None
        shelf = self._shelves.setdefault(environment.version.key, [])
        if environment.provisioned or not shelf or not shelf[-1].provisioned:
            shelf.append(environment)
        else:
            shelf.insert(next(index for index, each in enumerate(shelf) if each.provisioned), environment)

    def remove(self, environment: Environment) -> None:
        """One that is not there is no error."""
        if environment.version is None:
            return
        key = environment.version.key
        shelf = self._shelves.get(key, [])
        if environment in shelf:
            shelf.remove(environment)
        if not shelf:
            self._shelves.pop(key, None)

    def of(self, key: str) -> list[Environment]:
        return list(self._shelves.get(key, ()))

    def __iter__(self) -> Iterator[Environment]:
        """Of a moment: they may be removed on the way."""
        return iter([environment for shelf in self._shelves.values() for environment in shelf])

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def least_missed(self, now: float, *, weigh_memory: bool) -> Environment | None:
        """The one idle longest, or for the most memory and time taken together; never a provisioned one."""

        def cost(environment: Environment) -> float:
            assert environment.version is not None
            idle_s = now - environment.idle_since
            return (1.0 + idle_s) * environment.version.memory_mb if weigh_memory else idle_s

        # The first of a shelf is the one of its version that was used least recently.
        firsts = [shelf[0] for shelf in self._shelves.values() if shelf and not shelf[0].provisioned]
        return max(firsts, key=cost, default=None)
