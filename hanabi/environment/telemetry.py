"""The telemetry of one environment: its events for the extensions that subscribe to them, from the init on.

AWS Lambda developer guide, "Accessing real-time telemetry data for extensions using the Telemetry API". Subscriptions are taken during the
init only; what happened before one is delivered, too. Without a subscriber nothing is kept after the init.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from hanabi.base.clock import Clock, Timer
from hanabi.base.tasks import Tasks
from hanabi.contracts.journal import LogEvent, Record
from hanabi.contracts.sandbox import Sandbox
from hanabi.errors import NotDelivered, SubscriptionRefused
from hanabi.ledger import platform_events
from hanabi.ledger.platform_events import PlatformEvent, iso_time
from hanabi.quotas import EXTENSIONS_MAX
from hanabi.runtime.telemetry.buffer import EventBuffer
from hanabi.runtime.telemetry.delivery import Delivery
from hanabi.runtime.telemetry.schemas import encode_event, shape
from hanabi.runtime.telemetry.subscription import LOGS, TELEMETRY, Subscription

FUNCTION, EXTENSION = "function", "extension"  # whose output it is
HISTORY_MAX_BYTES = 256 * 1024  # of what happened before a subscription
HELD_MAX_BYTES = 4 * 1024 * 1024  # of one environment's events, for all its subscribers
TRIES = 3  # to deliver a batch
PAUSE_S = 0.1  # between them
FLUSH_S = 0.1  # that the freeze, or the end, waits for deliveries
PARSED_MAX_CHARS = 16 * 1024  # a longer line of JSON is delivered as text: the loop has other work
FALLEN_BEHIND = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."


class Subscriber:
    """One subscription, its events that have not been delivered, and the task that delivers them."""

    def __init__(self, subscription: Subscription, delivery: Delivery, clock: Clock, is_frozen: Callable[[], bool]) -> None:
        self.subscription = subscription
        self.buffer = EventBuffer(subscription)
        self.busy = False
        self.hurry = False  # all is due now
        self.on_empty: Callable[[], None] = lambda: None
        self._delivery = delivery
        self._clock = clock
        self._is_frozen = is_frozen
        self._wake = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self.busy and not len(self.buffer)

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Deliver batches as they are due, until cancelled."""
        try:
            while True:
                await self._wait_until_due()
                self.busy = True
                try:
                    await self._deliver(self.buffer.take())
                finally:
                    self.busy = False
                if self.is_empty:
                    self.hurry = False
                    self.on_empty()
        finally:
            self._delivery.close()

    async def _wait_until_due(self) -> None:
        while True:
            self._wake.clear()
            due = self.buffer.due
            left_s = None if due is None or self._is_frozen() else 0.0 if self.hurry else due - self._clock.monotonic()
            if left_s is not None and left_s <= 0:
                return
            timer = self._clock.call_later(left_s, self._wake.set) if left_s is not None else None
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def _deliver(self, batch: list[bytes]) -> None:
        for attempt in range(TRIES):
            while self._is_frozen():
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._delivery.send(batch)
            except NotDelivered:
                if attempt + 1 < TRIES:
                    await self._clock.sleep(PAUSE_S)
            else:
                break
        else:
            self.buffer.dropped_records += len(batch)
            self.buffer.dropped_bytes += sum(map(len, batch))
        records, size_bytes = self.buffer.take_dropped()
        if records and "platform" in self.subscription.types:
            event = platform_events.logs_dropped(FALLEN_BEHIND, records, size_bytes)
            said = encode_event(iso_time(self._clock.time()), event.type, event.record)
            self.buffer.add(said, self._clock.monotonic(), len(said))


class EnvironmentTelemetry:
    """The telemetry. `begin` at each init, `end_init` after it, `close` at the end of its processes."""

    def __init__(self, sandbox: Sandbox, clock: Clock, is_frozen: Callable[[], bool]) -> None:
        self.listening = False  # during the init, and as long as anybody has subscribed
        self.parse_json = False  # logs are JSON: so are the records of lines that are
        self._sandbox = sandbox
        self._clock = clock
        self._is_frozen = is_frozen
        self._open = False
        self._history: list[tuple[int, str, Any]] = []
        self._history_bytes = 0
        self._subscribers: list[Subscriber] = []
        self._tasks = Tasks("telemetry")
        self._flushed: list[Callable[[], None]] = []  # to be called back
        self._flush_timer: Timer | None = None
        self.on_subscribed: Callable[[PlatformEvent, str], None] = lambda event, line: None

    # --- the init -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin anew: the processes of before are gone."""
        self._drop_subscribers()
        self._history, self._history_bytes = [], 0
        self._open = self.listening = True

    def forget(self) -> None:
        """Forget the subscribers: their processes are gone."""
        self._drop_subscribers()
        self.listening = self._open = False

    def end_init(self) -> None:
        """Take no more subscriptions."""
        self._open = False
        self._history, self._history_bytes = [], 0
        self.listening = bool(self._subscribers)

    def subscribe(self, subscription: Subscription) -> bool:
        """Take a subscription; False: there is the same one already. Raises `SubscriptionRefused`."""
        api = subscription.api
        if not self._open:
            raise SubscriptionRefused(api, "SubscriptionClosed", f"{api} API subscription is closed already", 403)
        event = platform_events.telemetry_subscription if api == TELEMETRY else platform_events.logs_subscription
        for other in (each.subscription for each in self._subscribers):
            if other == subscription:
                return False
            if other.extension == subscription.extension and other.api != api:
                message = (
                    f"The extension {other.extension} is already subscribed to the {other.api}API. "
                    "You must either subscribe to the LogsAPI or the TelemetryAPI"
                )
                raise SubscriptionRefused(api, "AccessDenied", message)
        if len(self._subscribers) >= EXTENSIONS_MAX:
            raise SubscriptionRefused(api, "AccessDenied", f"Subscription limit ({EXTENSIONS_MAX}) reached", 403)
        delivery = Delivery(subscription, self._sandbox.connect, self._clock, self._is_frozen)
        subscriber = Subscriber(subscription, delivery, self._clock, self._is_frozen)
        subscriber.on_empty = self._see_flushed
        for past in self._history:
            self._give(subscriber, *past, {})
        self._subscribers.append(subscriber)
        self._tasks.spawn(subscriber.run(), f"telemetry of {subscription.extension}")
        told = event(subscription.extension, list(subscription.types))
        self.on_subscribed(told, subscription_line(subscription))
        return True

    # --- events ---------------------------------------------------------------------------------------------------------

    def platform(self, time_ms: int, event: PlatformEvent) -> None:
        if self.listening:
            self._add(time_ms, event.type, event.record)

    def report(self, record: Record) -> None:
        """The end of an invocation."""
        self.platform(int(self._clock.time() * 1000), platform_events.report(record))

    def output(self, whose: str, events: list[LogEvent]) -> None:
        """Lines that a process has printed. `whose`: FUNCTION or EXTENSION."""
        if self.listening:
            for time_ms, line in events:
                self._add(time_ms, whose, self._record(line))

    def _record(self, line: str) -> Any:
        if self.parse_json and line[:1] == "{" and len(line) <= PARSED_MAX_CHARS:
            try:
                return json.loads(line)
            except (ValueError, RecursionError):
                pass
        return line + "\n"

    def _add(self, time_ms: int, type: str, record: Any) -> None:
        encoded: dict[str, list[bytes]] = {}
        for subscriber in self._subscribers:
            self._give(subscriber, time_ms, type, record, encoded)
        if self._open:
            size = len(record) if isinstance(record, str) else 512
            if self._history_bytes + size <= HISTORY_MAX_BYTES:
                self._history.append((time_ms, type, record))
                self._history_bytes += size

    def _give(self, subscriber: Subscriber, time_ms: int, type: str, record: Any, encoded: dict[str, list[bytes]]) -> None:
        """Give an event to a subscriber, if it is one of its types. `encoded`: the event by schema, made once."""
        subscription, buffer = subscriber.subscription, subscriber.buffer
        if type.split(".", 1)[0] not in subscription.types:
            return
        events = encoded.get(subscription.schema)
        if events is None:
            time = iso_time(time_ms / 1000)
            events = [encode_event(time, *each) for each in shape(type, record, subscription.schema)]
            encoded[subscription.schema] = events
        room = HELD_MAX_BYTES - sum(each.buffer.size_bytes for each in self._subscribers)
        for event in events:
            buffer.add(event, self._clock.monotonic(), room)
            room -= len(event)
        subscriber.wake()

    # --- before a freeze, and the end -----------------------------------------------------------------------------------

    def flush_then(self, done: Callable[[], None]) -> None:
        """Deliver all there is now, then call back; after `FLUSH_S` anyway."""
        if all(each.is_empty for each in self._subscribers):
            done()
            return
        self._flushed.append(done)
        if self._flush_timer is None:
            self._flush_timer = self._clock.call_later(FLUSH_S, self._end_flush)
        for subscriber in self._subscribers:
            subscriber.hurry = not subscriber.is_empty
            subscriber.wake()

    async def flush(self) -> None:
        """Deliver all there is, before the processes are told to end."""
        ended = asyncio.Event()
        self.flush_then(ended.set)
        await ended.wait()

    def _see_flushed(self) -> None:
        if self._flushed and all(each.is_empty for each in self._subscribers):
            self._end_flush()

    def _end_flush(self) -> None:
        waiting, self._flushed = self._flushed, []
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        for done in waiting:
            done()

    def _drop_subscribers(self) -> None:
        self._subscribers = []
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Deliver no more."""
        self.listening = self._open = False
        self._end_flush()
        self._subscribers = []
        await self._tasks.cancel()


def subscription_line(subscription: Subscription) -> str:
    """`TELEMETRY\\tName: tool\\tState: Subscribed\\tTypes: [Platform, Function]`, as in Lambda's logs."""
    word = "LOGS" if subscription.api == LOGS else "TELEMETRY"
    types = ", ".join(each.capitalize() for each in subscription.types)
    return f"{word}\tName: {subscription.extension}\tState: Subscribed\tTypes: [{types}]"
