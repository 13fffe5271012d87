"""Log events: put, read and searched; and what a filter pattern matches."""

import asyncio
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.logs import END_OF_TIME_MS, Logs
from hanabi.edge.service import Call
from hanabi.ledger.log_errors import InvalidParameter
from hanabi.ledger.patterns.pattern import compile_pattern
from hanabi.ledger.patterns.scanner import INVALID, InvalidPattern
from hanabi.ledger.search import encode_position
from hanabi.quotas import (
    LOG_BATCH_BYTES,
    LOG_BATCH_SPAN_MS,
    LOG_EVENT_AGE_MS,
    LOG_EVENT_FUTURE_MS,
    LOG_EVENT_OVERHEAD_BYTES,
    LOG_PAGE_EVENTS,
)
from hanabi.services.logs.targets import Stream
from hanabi.services.logs.tokens import read_position, sequence_token, write_position

_DAY_MS = 86_400_000


class EventOperations:
    def __init__(self, store: Logs, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def put(self, call: Call, params: dict[str, Any], target: Stream) -> dict[str, Any]:
        events = [(int(event["timestamp"]), str(event["message"])) for event in params["logEvents"]]
        size = sum(len(text.encode("utf-8", "replace")) + LOG_EVENT_OVERHEAD_BYTES for _, text in events)
        if size > LOG_BATCH_BYTES:
            raise InvalidParameter(f"Upload too large: {size} bytes exceeds limit of {LOG_BATCH_BYTES}")
        times = [when for when, _ in events]
        if times != sorted(times):
            raise InvalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
        now_ms = round(self._clock.time() * 1000)
        retention_days = (await self._store.group(target[0])).retention_days
        oldest_ms, newest_ms = now_ms - LOG_EVENT_AGE_MS, now_ms + LOG_EVENT_FUTURE_MS
        expired_ms = oldest_ms if retention_days is None else now_ms - retention_days * _DAY_MS
        kept = [event for event in events if max(oldest_ms, expired_ms) <= event[0] <= newest_ms]
        if kept and kept[-1][0] - kept[0][0] > LOG_BATCH_SPAN_MS:
            raise InvalidParameter("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
        await self._store.put(*target, kept)
        rejected: dict[str, int] = {}
        if times[0] < oldest_ms:
            rejected["tooOldLogEventEndIndex"] = sum(when < oldest_ms for when in times)
        if times[0] < expired_ms and expired_ms > oldest_ms:
            rejected["expiredLogEventEndIndex"] = sum(when < expired_ms for when in times)
        if times[-1] > newest_ms:
            rejected["tooNewLogEventStartIndex"] = sum(when <= newest_ms for when in times)
        return {"nextSequenceToken": sequence_token(len(events), now_ms), **({"rejectedLogEventsInfo": rejected} if rejected else {})}

    async def filter(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        names, prefix = params.get("logStreamNames") or [], params.get("logStreamNamePrefix") or ""
        if names and prefix:
            raise InvalidParameter("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
        backward = params.get("startFromHead") is False
        after = None
        if params.get("nextToken"):
            backward, after = read_position(params["nextToken"])
        page = await self._store.find(
            group,
            start_ms=params.get("startTime") or 0,
            end_ms=params["endTime"] + 1 if "endTime" in params else END_OF_TIME_MS,  # here, and only here, the end is included
            streams=names,
            prefix=prefix,
            matches=compile_pattern(params.get("filterPattern") or "").matches,
            after=after,
            backward=backward,
            limit=params.get("limit") or LOG_PAGE_EVENTS,
        )
        events = [
            {
                "logStreamName": e.stream,
                "timestamp": e.time_ms,
                "message": e.message,
                "ingestionTime": e.ingested_ms,
                "eventId": encode_position(e.position),
            }
            for e in page.events
        ]
        answer: dict[str, Any] = {"events": events, "searchedLogStreams": []}
        if page.last is not None:
            answer["nextToken"] = write_position(page.last, backward)
        return answer

    async def get(self, call: Call, params: dict[str, Any], target: Stream) -> dict[str, Any]:
        backward, after = not params.get("startFromHead"), None
        if params.get("nextToken"):
            backward, after = read_position(params["nextToken"])
        start_ms, end_ms = params.get("startTime") or 0, params.get("endTime", END_OF_TIME_MS)
        page = await self._store.find(
            target[0],
            start_ms=start_ms,
            end_ms=end_ms,
            streams=[target[1]],
            after=after,
            backward=backward,
            limit=params.get("limit") or LOG_PAGE_EVENTS,
        )
        found = sorted(page.events, key=lambda event: event.position)
        first = found[0].position if found else after or (min(end_ms, END_OF_TIME_MS), 0, 0)
        last = found[-1].position if found else after or (start_ms, 0, 0)
        # A page may be empty because nothing is left, or because one look was long enough: then the walk goes on where it was.
        if page.last is not None:
            first, last = (page.last, last) if backward else (first, page.last)
        return {
            "events": [{"timestamp": e.time_ms, "message": e.message, "ingestionTime": e.ingested_ms} for e in found],
            "nextForwardToken": write_position(last, backward=False),
            "nextBackwardToken": write_position(first, backward=True),
        }

    async def try_filter(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        """TestMetricFilter: what a pattern matches of some messages."""
        try:
            pattern = compile_pattern(params["filterPattern"])
        except InvalidPattern as error:
            raise InvalidParameter("Invalid metric filter pattern" if error.message == INVALID else error.message) from None

        def match() -> list[dict[str, Any]]:
            return [
                {"eventNumber": number, "eventMessage": message, "extractedValues": pattern.extract(message)}
                for number, message in enumerate(params["logEventMessages"], 1)
                if pattern.matches is None or pattern.matches(message)
            ]

        return {"matches": await asyncio.to_thread(match)}
