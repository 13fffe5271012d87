"""Live Tail: a stream of what is logged, with an update each second, until its client goes, the server stops or three hours are over."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Self

from hanabi.base.clock import Clock
from hanabi.contracts.logs import Logs, Matcher
from hanabi.edge.service import Call
from hanabi.ledger.log_errors import InvalidParameter, LiveTailTimeout, LogLimitExceeded
from hanabi.ledger.patterns.pattern import compile_pattern
from hanabi.ledger.patterns.scanner import InvalidPattern
from hanabi.quotas import LIVE_TAIL_EVENTS, LIVE_TAIL_INTERVAL_S, LIVE_TAIL_SESSION_S, LIVE_TAIL_SESSIONS_MAX
from hanabi.services.logs.targets import group_arn


class LiveTailOperations:
    def __init__(self, store: Logs, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._sessions: set[LiveTail] = set()

    async def start(self, call: Call, params: dict[str, Any], groups: Sequence[str]) -> dict[str, Any]:
        """StartLiveTail."""
        names, prefixes = params.get("logStreamNames") or [], params.get("logStreamNamePrefixes") or []
        if names and prefixes:
            raise InvalidParameter("Only one of logStreamNames or logStreamNamePrefixes can be provided.")
        if (names or prefixes) and len(groups) > 1:
            raise InvalidParameter("logStreamNames and logStreamNamePrefixes can only be used with a single log group.")
        pattern = params.get("logEventFilterPattern") or ""
        try:
            matches = compile_pattern(pattern).matches
        except InvalidPattern as error:
            raise InvalidParameter(f"Invalid filter pattern: {error.message}") from None
        for group in groups:
            await self._store.group(group)
        place = (await self._store.tail(groups, None)).place
        if len(self._sessions) >= LIVE_TAIL_SESSIONS_MAX:  # nothing is awaited from here on: those that begin together count each other
            raise LogLimitExceeded("Resource limit exceeded.")
        start = {
            "requestId": call.request_id,
            "sessionId": str(uuid.uuid4()),
            "logGroupIdentifiers": [group_arn(call, group) for group in groups],
            "logStreamNames": names,
            "logStreamNamePrefixes": prefixes,
            "logEventFilterPattern": pattern,
        }
        session = LiveTail(self._store, self._clock, start, groups, matches, place, self._sessions.discard)
        self._sessions.add(session)
        return {"responseStream": session}

    def drain(self) -> None:
        """End all sessions with their next update."""
        for session in list(self._sessions):
            session.stop()


class LiveTail:
    """One session, as `event_stream.Events`."""

    def __init__(
        self,
        store: Logs,
        clock: Clock,
        start: dict[str, Any],
        groups: Sequence[str],
        matches: Matcher | None,
        place: int,
        on_end: Callable[["LiveTail"], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._start = start
        self._groups = groups
        self._matches = matches
        self._place = place
        self._on_end = on_end
        self._arns = dict(zip(groups, start["logGroupIdentifiers"], strict=True))
        self._until_s = clock.monotonic() + LIVE_TAIL_SESSION_S
        self._next_s: float | None = None  # of the next update
        self._stopped = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, dict[str, Any]]:
        if self._next_s is None:
            self._next_s = self._clock.monotonic() + LIVE_TAIL_INTERVAL_S
            return "sessionStart", self._start
        await self._clock.sleep(max(0.0, self._next_s - self._clock.monotonic()))
        if self._stopped:
            raise StopAsyncIteration
        if self._clock.monotonic() >= self._until_s:
            raise LiveTailTimeout("The Live Tail session has timed out after three hours.")
        self._next_s = max(self._next_s, self._clock.monotonic() - LIVE_TAIL_INTERVAL_S) + LIVE_TAIL_INTERVAL_S
        tail = await self._store.tail(
            self._groups,
            self._place,
            streams=self._start["logStreamNames"],
            prefixes=self._start["logStreamNamePrefixes"],
            matches=self._matches,
            limit=LIVE_TAIL_EVENTS,
        )
        self._place = tail.place
        results = [
            {
                "logGroupIdentifier": self._arns[group],
                "logStreamName": event.stream,
                "message": event.message,
                "timestamp": event.time_ms,
                "ingestionTime": event.ingested_ms,
            }
            for group, event in tail.events
        ]
        return "sessionUpdate", {"sessionMetadata": {"sampled": tail.is_sample}, "sessionResults": results}

    async def aclose(self) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopped = True
        self._on_end(self)
