"""Usage and its cost: sums over all invocations, by function and period."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hanabi.quotas import GB_SECOND_PRICE_USD, REQUEST_PRICE_USD

PERIODS = {"hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d", "month": "%Y-%m"}  # UTC


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The use of one function in one period. All counts are whole numbers, so that sums are exact."""

    function: str
    period: str
    requests: int
    errors: int
    billed_ms: int
    mb_ms: int  # billed ms times memory

    def __add__(self, other: "UsageRow") -> "UsageRow":
        sums = (getattr(self, name) + getattr(other, name) for name in ("requests", "errors", "billed_ms", "mb_ms"))
        return UsageRow(self.function, self.period, *sums)

    @property
    def gb_seconds(self) -> float:
        return self.mb_ms / 1024 / 1000

    @property
    def cost(self) -> float:
        """The cost in US dollars."""
        return self.requests * REQUEST_PRICE_USD + self.gb_seconds * GB_SECOND_PRICE_USD


@dataclass(slots=True)
class Losses:
    """Counts of lost records, and the times (Unix ms) of the first and last loss; 0: none."""

    invocations: int = 0
    log_lines: int = 0
    damaged_bytes: int = 0
    since_ms: int = 0
    until_ms: int = 0

    def __bool__(self) -> bool:
        return bool(self.invocations or self.log_lines or self.damaged_bytes)

    def describe(self) -> str:
        parts = [
            f"{count} {text}"
            for count, text in (
                (self.invocations, "invocations were not counted"),
                (self.log_lines, "log lines were lost"),
                (self.damaged_bytes, "bytes of the journal were damaged"),
            )
            if count
        ]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Usage by period, then function. `lost` is in no sum; `behind` says why the index is not up to date, or is empty."""

    rows: list[UsageRow]
    lost: Losses
    behind: str = ""
    until_ms: int | None = None  # up to when the sums are whole; None: they are, all the same

    @property
    def note(self) -> str:
        if not self.behind:
            return ""
        held = f"the index of the record cannot be brought up to date ({self.behind})"
        if self.until_ms is None:
            return f"{held}; what it lacks was read from the journal, nothing is missing"
        when = datetime.fromtimestamp(self.until_ms / 1000, UTC)
        return f"{held}: these sums are whole up to {when:%Y-%m-%d %H:%M:%S} UTC only"


class Usage(Protocol):
    async def report(
        self, period: str, *, scope: str = "", function: str | None = None, since_ms: int = 0, until_ms: int = 1 << 62
    ) -> UsageReport:
        """Rows of a scope (`control.record_names`) by period, then function. `period` is a key of PERIODS. The bounds count by whole hours.

        Raises `StorageFailed`.
        """
