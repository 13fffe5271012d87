"""The event queue's metrics: events by state, and how they ended."""

from collections.abc import Callable

from hanabi.base.clock import Clock, Timer
from hanabi.base.health import Health
from hanabi.contracts.events import Event
from hanabi.triggers.event_states import EventState

SHOWN_S = 3600.0  # a dropped event is a problem that stands for so long
DROPPED = "events.dropped"


class QueueMetrics:
    """Metrics of the queue. `backlog` counts accepted events that have not ended; `oldest_ms` is when the first was accepted."""

    def __init__(self, clock: Clock, health: Health, running: Callable[[], int], unwritten: Callable[[], int]) -> None:
        self.backlog = 0
        self.oldest_ms: int | None = None
        self.ended = {EventState.DONE: 0, EventState.DROPPED: 0}
        self._clock = clock
        self._health = health
        self._running = running
        self._unsaved = unwritten
        self._timer: Timer | None = None
        self.accepted = health.counter("hanabi_events_accepted_total", "Asynchronous events that were accepted")
        self.retried = health.counter("hanabi_events_retried_total", "Attempts after which an event is to be tried again")
        self.failed_writes = health.counter("hanabi_events_failed_writes_total", "Writes to events.db that failed")
        self._counted = {
            EventState.DONE: health.counter("hanabi_events_done_total", "Asynchronous events that ran and returned"),
            EventState.DROPPED: health.counter("hanabi_events_dropped_total", "Asynchronous events that were given up"),
        }
        health.gauge("hanabi_events_backlog", "Asynchronous events that were accepted and have not ended", lambda: self.backlog)
        health.gauge("hanabi_events_running", "Asynchronous events that run now", running)
        health.gauge("hanabi_events_waiting", "Asynchronous events that wait for their turn or their next attempt", self._waiting)
        health.gauge("hanabi_events_unwritten", "Asynchronous events whose latest state is not on disk yet", unwritten)
        health.gauge("hanabi_events_oldest_age_seconds", "Age of the oldest event that has not ended", self._age_s)

    def put(self, event: Event) -> None:
        self.accepted.add()
        if not self.backlog or self.oldest_ms is None:
            self.oldest_ms = event.accepted_ms
        self.backlog += 1

    def end(self, event: Event, state: EventState, reason: str) -> None:
        self.backlog -= 1
        self.ended[state] += 1
        self._counted[state].add()
        if state is EventState.DROPPED:
            dropped = self.ended[state]
            text = f"{dropped} event{'s were' if dropped > 1 else ' was'} dropped since the start, at last "
            self._health.report(DROPPED, f"{text}{event.request_id} of {event.function}: {reason}")
            self.close()
            self._timer = self._clock.call_later(SHOWN_S, self._health.clear, DROPPED)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def describe(self) -> dict[str, float]:
        return {
            "backlog": self.backlog,
            "running": self._running(),
            "waiting": self._waiting(),
            "unwritten": self._unsaved(),
            "oldest_s": self._age_s(),
            "done": self.ended[EventState.DONE],
            "retried": self.retried.value,
            "dropped": self.ended[EventState.DROPPED],
        }

    def _waiting(self) -> int:
        return max(0, self.backlog - self._running())

    def _age_s(self) -> float:
        return max(0.0, self._clock.time() - self.oldest_ms / 1000) if self.backlog > 0 and self.oldest_ms is not None else 0.0
