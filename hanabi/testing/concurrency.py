"""Concurrency limits that a test sets."""

from collections.abc import Iterable

ACCOUNT_LIMIT = 1000


class FixedLimits:
    """A `contracts.functions.ConcurrencyLimits`."""

    def __init__(self, unreserved: int = ACCOUNT_LIMIT, reserved: Iterable[str] = ()) -> None:
        self.unreserved = unreserved
        self.reserved = set(reserved)  # functions that have a reservation of their own

    def account_concurrency(self, scope: str = "") -> tuple[int, int]:
        return ACCOUNT_LIMIT, self.unreserved

    def is_reserved(self, name: str) -> bool:
        return name in self.reserved
