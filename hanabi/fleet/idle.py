"""The idle environments by version: most recently used last, provisioned ones after all others."""

from collections.abc import Iterator

from hanabi.contracts.functions import TENANT_MARK
from hanabi.environment.environment import Environment


class IdleEnvironments:
    """The collection. `take` and `put` are the warm path."""

    def __init__(self) -> None:
        self._queues: dict[str, list[Environment]] = {}

    def take(self, key: str) -> Environment | None:
        """Take the one to use next: provisioned first, else the most recently used. It may have died meanwhile."""
        queue = self._queues.get(key)
        return queue.pop() if queue else None

    def put(self, environment: Environment) -> None:
        assert environment.version is not None
        queue = self._queues.setdefault(environment.version.key, [])
        if environment.provisioned or not queue or not queue[-1].provisioned:
            queue.append(environment)
        else:
            queue.insert(next(index for index, each in enumerate(queue) if each.provisioned), environment)

    def remove(self, environment: Environment) -> None:
        """Remove an environment. Idempotent."""
        if environment.version is None:
            return
        key = environment.version.key
        queue = self._queues.get(key, [])
        if environment in queue:
            queue.remove(environment)
        if not queue:
            self._queues.pop(key, None)

    def of(self, key: str) -> list[Environment]:
        """List those of a version; of all its tenants, if it has any."""
        prefix = key + TENANT_MARK
        return [each for own, queue in self._queues.items() if own == key or own.startswith(prefix) for each in queue]

    def __iter__(self) -> Iterator[Environment]:
        """Iterate over a copy: environments may be removed meanwhile."""
        return iter([environment for queue in self._queues.values() for environment in queue])

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def eviction_candidate(self, now: float, *, weigh_memory: bool) -> Environment | None:
        """Return the one idle longest, or with the most memory x idle time; never a provisioned one."""

        def cost(environment: Environment) -> float:
            assert environment.version is not None
            idle_s = now - environment.idle_since
            return (1.0 + idle_s) * environment.version.memory_mb if weigh_memory else idle_s

        # The first of each queue is the least recently used of its version.
        firsts = [queue[0] for queue in self._queues.values() if queue and not queue[0].provisioned]
        return max(firsts, key=cost, default=None)
