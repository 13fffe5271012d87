"""The events of one subscriber that have not been delivered: in batches, bounded. No input or output here."""

from collections import deque

from hanabi.runtime.telemetry.subscription import Subscription

HELD_BATCHES = 2  # of `max_bytes` and `max_items` each: what is more is dropped, and said


class EventBuffer:
    """The buffer. A batch is due when it is full, or when its first event has waited for long enough."""

    def __init__(self, subscription: Subscription) -> None:
        self._max_items = subscription.max_items
        self._max_bytes = subscription.max_bytes
        self._timeout_s = subscription.timeout_ms / 1000
        self._events: deque[tuple[bytes, float]] = deque()  # (event, monotonic time)
        self.size_bytes = 0
        self.dropped_records = 0
        self.dropped_bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: bytes, now: float, room: int) -> None:
        """Add an event, or drop it: its reader has fallen behind, or there are not `room` bytes for it."""
        held = HELD_BATCHES * self._max_bytes - self.size_bytes
        if len(self._events) >= HELD_BATCHES * self._max_items or len(event) > min(room, held):
            self.dropped_records += 1
            self.dropped_bytes += len(event)
            return
        self._events.append((event, now))
        self.size_bytes += len(event)

    @property
    def full(self) -> bool:
        return len(self._events) >= self._max_items or self.size_bytes >= self._max_bytes

    @property
    def due(self) -> float | None:
        """When a batch is due, monotonic; None: there is no event."""
        if not self._events:
            return None
        return self._events[0][1] if self.full else self._events[0][1] + self._timeout_s

    def take(self) -> list[bytes]:
        """Take a batch: as many events as fit, one at least if there is any."""
        batch: list[bytes] = []
        size = 0
        while self._events and len(batch) < self._max_items and (not batch or size + len(self._events[0][0]) <= self._max_bytes):
            event, _ = self._events.popleft()
            batch.append(event)
            size += len(event)
        self.size_bytes -= size
        return batch

    def take_dropped(self) -> tuple[int, int]:
        """Take what is to be said of dropped events: (records, bytes)."""
        dropped = self.dropped_records, self.dropped_bytes
        self.dropped_records = self.dropped_bytes = 0
        return dropped
