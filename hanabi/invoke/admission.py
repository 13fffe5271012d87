"""Who may run: the account's and the functions' concurrency limits.

AWS Lambda developer guide, "Understanding Lambda function scaling": reserved concurrency is a cap and a guarantee; what is
not reserved is shared by all other functions.
"""

from collections.abc import Callable

from hanabi.contracts import Concurrency
from hanabi.errors import TooManyRequests


class Admission:
    """Counts what runs. `enter` and `leave` frame every invocation; both are a few dictionary reads."""

    def __init__(self, unreserved_limit: Callable[[], int]) -> None:
        self._unreserved_limit = unreserved_limit
        self._running: dict[str, int] = {}
        self._unreserved = 0

    def enter(self, concurrency: Concurrency) -> bool:
        """Count one more, and say whether it is counted as unreserved (to be handed to `leave`). Raises `TooManyRequests`."""
        running = self._running.get(concurrency.function, 0)
        if concurrency.reserved is not None:
            if running >= concurrency.reserved:
                raise TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded")
        elif self._unreserved >= self._unreserved_limit():
            raise TooManyRequests("ConcurrentInvocationLimitExceeded")
        else:
            self._unreserved += 1
        self._running[concurrency.function] = running + 1
        return concurrency.reserved is None

    def leave(self, concurrency: Concurrency, unreserved: bool) -> None:
        """Undo one `enter`."""
        left = self._running[concurrency.function] - 1
        if left:
            self._running[concurrency.function] = left
        else:
            del self._running[concurrency.function]
        if unreserved:
            self._unreserved -= 1

    def running(self, function: str) -> int:
        return self._running.get(function, 0)
