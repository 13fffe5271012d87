"""The durable queue of asynchronous invocations and the dispatcher that runs them.

An event is on disk before `put` returns, and stays there until it has ended: after `kill -9` it is run again (at least once).
Only a window of events is in memory; the rest waits on disk. Failed reads and writes are tried again until they succeed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from hanabi.base.clock import Clock, Timer
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.events import Event, EventChange, EventLog
from hanabi.contracts.functions import Catalog, EventRules, Route
from hanabi.contracts.invocation import Invocation, Invoker, Result
from hanabi.contracts.lineage import recursions
from hanabi.contracts.tenants import route_for
from hanabi.errors import (
    AccessDenied,
    ApiError,
    DocumentDamaged,
    HanabiError,
    ResourceConflict,
    ResourceNotFound,
    ServiceError,
    ShuttingDown,
    StorageFailed,
    TooManyRequests,
)
from hanabi.quotas import ACCOUNT_CONCURRENCY, RECURSIONS_MAX
from hanabi.triggers.destinations import destination, make_follow_up
from hanabi.triggers.event_states import ENDS, EventState, EventTrigger, advance
from hanabi.triggers.queue_metrics import QueueMetrics
from hanabi.triggers.retry_policy import RetryPolicy
from hanabi.triggers.unsaved_events import KEY as MARK
from hanabi.triggers.unsaved_events import UnsavedEvents

log = logging.getLogger(__name__)

WINDOW_EVENTS = 256  # events in memory beside the running ones
WINDOW_BYTES = 64 * 1024 * 1024  # of payloads in memory, running ones included
UNSAVED_MAX = 10_000  # events that the disk could not be told of; with more, none is started
PUT_LIMIT_S = 10.0
FULL_INTERVAL_S = 1.0  # between looks whether a full disk has room again
DRAIN_S = 10.0
READ, STORE, LATE, OPEN = "events.read", "events.store", "events.late", "events.open"  # works that are tried again, besides MARK


class DurableQueue:
    """A `contracts.invocation.EventQueue` over a log of events."""

    def __init__(
        self,
        events: EventLog,
        catalog: Catalog,
        invoker: Invoker,
        clock: Clock,
        *,
        policy: RetryPolicy | None = None,
        concurrency: int = ACCOUNT_CONCURRENCY,
        window: int = WINDOW_EVENTS,
        window_bytes: int = WINDOW_BYTES,
        drain_s: float = DRAIN_S,
        is_full: Callable[[], bool] = lambda: False,
        health: Health | None = None,
    ) -> None:
        """`is_full`: whether invocations are refused because the disk is full; no event is started then."""
        self._is_full = is_full
        self._health = health = health or Health(clock)
        self._events = events
        self._catalog = catalog
        self._invoker = invoker
        self._clock = clock
        self._policy = policy or RetryPolicy()
        self._concurrency = concurrency
        self._window = window
        self._window_bytes = window_bytes
        self._drain_s = drain_s
        self._ready: deque[Event] = deque()
        self._held: dict[int, int] = {}  # id -> payload size, of the events in memory: ready or running
        self._held_bytes = 0
        self._running: set[asyncio.Task[None]] = set()
        self._next_fill_ms: int | None = None  # when the disk may hold events that are due and not in memory; None: it holds none
        self._filling = False
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._timer: Timer | None = None
        self._retries = RetryQueue(clock, health)
        self._unsaved = UnsavedEvents(events, self._retries, self._on_written)
        self.meter = QueueMetrics(clock, health, lambda: len(self._running), lambda: len(self._unsaved))
        self._dispatcher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to run queued events, oldest first."""
        try:
            await self._repair_times()
        except StorageFailed as error:  # a full disk is no reason not to run what is there
            self._retries.add(OPEN, "The waiting events in events.db cannot be looked over", self._repair_times, error)
        self._next_fill_ms = 0
        self._wake_dispatcher()
        self._dispatcher = asyncio.create_task(self._dispatch(), name="event dispatcher")

    async def pause(self) -> None:
        """Start no more events. Running ones go on; new ones are accepted and wait for the next start."""
        if self._dispatcher is not None:
            dispatcher, self._dispatcher = self._dispatcher, None
            dispatcher.cancel()
            await asyncio.wait([dispatcher])
            self._stop_timer()

    async def close(self) -> None:
        """Start no more events; running ones may end within `drain_s`. Those that have not ended stay on disk."""
        await self.pause()
        if self._running:
            await asyncio.wait(self._running, timeout=self._drain_s)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await self._retries.close()
        self.meter.close()
        self._ready.clear()
        self._held.clear()
        self._held_bytes = 0

    async def put(self, route: Route, payload: bytes, *, request_id: str, client_context: str, trace: str, qualifier: str | None) -> None:
        """Store an event. Raises `ServiceError` when that failed, or took too long: then it may still have been stored, and run."""
        version = route.version
        event = Event(0, self._now_ms(), 0, 0, request_id, version.record_name, qualifier, client_context, trace, payload, version.tenant)
        try:
            async with asyncio.timeout(None) as limit:
                timer = self._clock.call_later(PUT_LIMIT_S, limit.reschedule, 0.0)
                try:
                    event.id = await self._events.add(event)
                finally:
                    timer.cancel()
        except StorageFailed as error:
            self.meter.failed_writes.add()
            self._retries.add(STORE, "Accepted events cannot be stored in events.db", self._events.probe, error)
            raise ServiceError(f"The event could not be stored: {error}. Please try again.") from error
        except TimeoutError:
            self.meter.failed_writes.add()
            self._retries.add(LATE, "Events are stored too slowly in events.db", self._find_late, f"no answer in {PUT_LIMIT_S:.0f} s")
            raise ServiceError("The event was not stored in time. It may run nevertheless; please try again.") from None
        self.meter.put(event)
        if len(self._retries):
            self._retries.drop(STORE)
            self._retries.nudge(MARK)
        if event.id not in self._held:  # it is there if it was read from disk before the news of its commit came here
            if self._next_fill_ms is None and not self._filling and self._has_room(len(payload)):
                self._hold(event)
            else:
                self._schedule_fill(event.accepted_ms)
        self._wake_dispatcher()

    async def _repair_times(self) -> None:
        """Repair the due times, and count the events."""
        longest_ms = round(max(self._policy.longest_delay_s, *self._policy.error_delays, 0.0) * 1000)
        found = await self._events.repair_times(self._now_ms(), longest_ms)
        self.meter.oldest_ms = found.oldest_ms
        self.meter.backlog = found.count - self._unsaved.ended

    async def _find_late(self) -> None:
        """Find events that were stored after their callers had given up: they are on disk once this write is."""
        await self._repair_times()
        self._schedule_fill(self._now_ms())
        self._wake_dispatcher()

    async def wait_idle(self) -> None:
        """Wait until no event runs and none is due, so that nothing happens before the clock moves."""
        await self._settled.wait()

    @property
    def running(self) -> int:
        """How many events run, or are being stored as done."""
        return len(self._running)

    async def backlog(self) -> int:
        """How many accepted events have not ended."""
        return await self._events.count()

    # --- the dispatcher -----------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while True:
            if not (self._wake.is_set() or self._ready or self._running):
                self._settled.set()
            await self._wake.wait()
            self._wake.clear()
            if self._is_due() and self._can_fill():
                try:
                    await self._fill()
                except Exception as error:
                    self._retries.add(READ, "Events that are due cannot be read from events.db", self._fill, error)
            while self._ready and len(self._running) < self._concurrency and len(self._unsaved) < UNSAVED_MAX and not self._is_full():
                event = self._ready.popleft()
                task = asyncio.create_task(self._run(event), name=f"event {event.request_id}")
                self._running.add(task)
                task.add_done_callback(self._on_ended)
            self._set_timer()

    async def _fill(self) -> None:
        """Load due events from disk into the window."""
        now_ms, held = self._now_ms(), self._held.keys() | self._unsaved.ids
        postponed = self._unsaved.postponed(self._held)
        first = [event_id for due_ms, event_id in postponed if due_ms <= now_ms]
        count, size = self._window - len(self._ready), self._window_bytes - self._held_bytes
        self._next_fill_ms, self._filling = None, True  # what is put from here on notes itself
        try:
            due = await self._events.load_due(now_ms, held, count, size, first)
        except BaseException:
            self._schedule_fill(now_ms)
            raise
        finally:
            self._filling = False
        for event in due.events:
            self._unsaved.correct(event)
            self._hold(event)
        if due.next_ms is not None:
            self._schedule_fill(due.next_ms)
        if len(postponed) > len(first):
            self._schedule_fill(postponed[len(first)][0])
        self._wake_dispatcher()

    async def _run(self, event: Event) -> None:
        state = advance(EventState.QUEUED, EventTrigger.TAKEN)
        trigger, reason, delay_s, result = await self._attempt(event)
        due_ms = self._now_ms() + round(delay_s * 1000)
        if advance(state, trigger) is EventState.WAITING and due_ms - event.accepted_ms > self._policy_of(event).maximum_age_s * 1000:
            trigger = EventTrigger.EXPIRED
        state = advance(state, trigger)
        if state in ENDS:
            if state is EventState.DROPPED:
                reason = f"{trigger.value}. {reason}"
                log.warning("event %s of %s dropped after %d failed attempts: %s", event.request_id, event.function, event.attempts, reason)
            follow_up = await make_follow_up(event, self._rules_of(event), trigger, result, self._now_ms())
            self.meter.end(event, state, reason)
            if follow_up is not None:
                self.meter.put(follow_up)
            await self._store(EventChange(event.id, None, event.attempts, event.refusals, follow_up))
        elif state is EventState.WAITING:
            self.meter.retried.add()
            log.info("event %s of %s is tried again in %.0f s: %s %s", event.request_id, event.function, delay_s, trigger.value, reason)
            await self._store(EventChange(event.id, due_ms, event.attempts, event.refusals))
            self._schedule_fill(due_ms)
        self._release(event)

    async def _store(self, change: EventChange) -> None:
        """Store a change on disk, or in memory until the disk takes it. While others wait for the disk already, no attempt is made."""
        if len(self._unsaved):
            self._unsaved.note(change, "")
            return
        try:
            self._on_written(await self._events.apply([change]), change.follow_up is not None)
        except StorageFailed as error:
            self.meter.failed_writes.add()
            self._unsaved.note(change, error)

    def _on_written(self, oldest_ms: int | None, followed_up: bool) -> None:
        self.meter.oldest_ms = oldest_ms
        if followed_up:
            self._schedule_fill(self._now_ms())
        self._wake_dispatcher()

    async def _attempt(self, event: Event) -> tuple[EventTrigger, str, float, Result | None]:
        """Run an event once. Returns what happened, the reason in words, the delay before the next attempt, if any, and the result."""
        policy = self._policy_of(event)
        if self._now_ms() - event.accepted_ms > policy.maximum_age_s * 1000:
            return EventTrigger.EXPIRED, "", 0.0, None
        try:
            # What it is now: it may have been updated or deleted since.
            route = route_for(self._catalog.resolve(event.function, event.qualifier), event.tenant)
            if recursions(event.trace, route.version.arn) >= RECURSIONS_MAX:
                if not self._rules_of(event).may_recurse:
                    return EventTrigger.RECURSED, "", 0.0, None
            invocation = Invocation(
                request_id=event.request_id,
                route=route,
                payload=event.payload,
                client_context=event.client_context,
                trace=event.trace,
                source="event",
                attempt=event.attempts + 1,
            )
            result = await self._invoker.invoke(invocation)
        except ResourceNotFound as error:
            return EventTrigger.GONE, error.message, 0.0, None
        except TooManyRequests as error:
            if route.concurrency.reserved == 0 and destination(self._rules_of(event), EventTrigger.UNRESERVED):
                return EventTrigger.UNRESERVED, error.reason, 0.0, None
            event.refusals += 1
            return EventTrigger.THROTTLED, error.reason, policy.after_refusal(event.refusals), None
        except ShuttingDown as error:
            return EventTrigger.STOPPED, error.message, 0.0, None
        except Exception as error:
            passing = isinstance(error, ResourceConflict | AccessDenied)  # an update ends; a role may come back
            if isinstance(error, ApiError) and error.status < 500 and not passing:
                return EventTrigger.REFUSED, error.message, 0.0, None
            if isinstance(error, HanabiError):
                log.info("event %s of %s: %s", event.request_id, event.function, error)
            else:
                log.exception("event %s of %s", event.request_id, event.function)
            event.refusals += 1
            return EventTrigger.BROKE, str(error), policy.after_refusal(event.refusals), None
        if result.function_error is None:
            return EventTrigger.SUCCEEDED, "", 0.0, result
        event.attempts += 1
        event.refusals = 0
        delay_s = policy.after_error(event.attempts)
        reason = result.record.error_type or result.function_error
        return (EventTrigger.EXHAUSTED, reason, 0.0, result) if delay_s is None else (EventTrigger.FAILED, reason, delay_s, result)

    def _policy_of(self, event: Event) -> RetryPolicy:
        """Return the policy of what the event was put for, as it is now: a change counts for waiting events, too."""
        return self._policy.within(self._rules_of(event))

    def _rules_of(self, event: Event) -> EventRules:
        try:
            return self._catalog.event_rules(event.function, event.qualifier)
        except DocumentDamaged:
            return EventRules()

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake_dispatcher()
        if not task.cancelled() and (error := task.exception()) is not None:  # it stays held, so that it does not run again in this life
            log.error("a defect of Hanabi: %s failed", task.get_name(), exc_info=error)
            self._health.report(
                "events.defect", f"A defect of Hanabi: {task.get_name()} failed, and runs again after the next start: {error}"
            )

    # --- the window ---------------------------------------------------------------------------------------------------

    def _has_room(self, size: int) -> bool:
        return self._dispatcher is not None and len(self._ready) < self._window and self._held_bytes + size <= self._window_bytes

    def _can_fill(self) -> bool:
        return len(self._ready) <= self._window // 2 and (self._held_bytes < self._window_bytes or not self._held)

    def _is_due(self) -> bool:
        return self._next_fill_ms is not None and self._next_fill_ms <= self._now_ms() and READ not in self._retries

    def _hold(self, event: Event) -> None:
        self._ready.append(event)
        self._held[event.id] = len(event.payload)
        self._held_bytes += len(event.payload)

    def _release(self, event: Event) -> None:
        self._held_bytes -= self._held.pop(event.id, 0)

    def _schedule_fill(self, when_ms: int) -> None:
        """Schedule a load from disk at that time, or earlier."""
        self._next_fill_ms = when_ms if self._next_fill_ms is None else min(self._next_fill_ms, when_ms)

    def _wake_dispatcher(self) -> None:
        self._settled.clear()
        self._wake.set()

    def _set_timer(self) -> None:
        """Set the timer for the next due event. Due events that find no free slot start when running ones end."""
        self._stop_timer()
        if self._ready and self._is_full():
            self._timer = self._clock.call_later(FULL_INTERVAL_S, self._wake_dispatcher)
        elif self._is_due():
            if self._can_fill():
                self._wake_dispatcher()
        elif self._next_fill_ms is not None and READ not in self._retries:
            self._timer = self._clock.call_later((self._next_fill_ms - self._now_ms()) / 1000, self._wake_dispatcher)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _now_ms(self) -> int:
        return round(self._clock.time() * 1000)
