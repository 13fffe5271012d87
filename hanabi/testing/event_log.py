"""An event log in memory: a `contracts.events.EventLog`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hanabi.contracts.events import Backlog, DueEvents, Event, EventChange


class MemoryEventLog:
    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.due_ms: dict[int, int] = {}
        self._last = 0

    async def add(self, event: Event) -> int:
        self._last += 1
        self.events[self._last] = replace(event, id=self._last, attempts=0, refusals=0)
        self.due_ms[self._last] = event.accepted_ms
        return self._last

    async def apply(self, changes: Sequence[EventChange]) -> int | None:
        for change in changes:
            if change.due_ms is None:
                ended = self.events.pop(change.id, None)
                self.due_ms.pop(change.id, None)
                if ended is not None and change.follow_up is not None:
                    await self.add(change.follow_up)
            elif change.id in self.events:
                self.events[change.id] = replace(self.events[change.id], attempts=change.attempts, refusals=change.refusals)
                self.due_ms[change.id] = change.due_ms
        return self._oldest()

    async def load_due(self, now_ms: int, held: Iterable[int], count: int, size_bytes: int, first: Iterable[int] = ()) -> DueEvents:
        held = set(held)
        waiting = sorted((due_ms, event_id) for event_id, due_ms in self.due_ms.items() if event_id not in held)
        chosen: list[Event] = []
        for due_ms, event_id in [*((now_ms, event_id) for event_id in sorted(first) if event_id in self.events), *waiting]:
            event = self.events[event_id]
            size_bytes -= len(event.payload)
            if due_ms > now_ms or len(chosen) == count or (chosen and size_bytes < 0):
                return DueEvents(chosen, due_ms)
            chosen.append(replace(event))
        return DueEvents(chosen, None)

    async def repair_times(self, now_ms: int, longest_ms: int) -> Backlog:
        for event_id, event in self.events.items():
            if event.accepted_ms > now_ms or self.due_ms[event_id] > now_ms + longest_ms:
                self.due_ms[event_id] = min(self.due_ms[event_id], now_ms)
                event.accepted_ms = min(event.accepted_ms, now_ms)
        return Backlog(len(self.events), self._oldest())

    async def count(self) -> int:
        return len(self.events)

    async def probe(self) -> None: ...

    def _oldest(self) -> int | None:
        return self.events[min(self.events)].accepted_ms if self.events else None
