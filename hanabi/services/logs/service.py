"""CloudWatch Logs: the part that `aws logs`, its paginators and `tail --follow` need to read the logs of functions."""

import base64
from collections.abc import Mapping
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.logs import END_OF_TIME_MS, EventPosition, LogGroup, Logs, LogStream
from hanabi.control import arns
from hanabi.edge.protocols.wording import Wording
from hanabi.edge.service import Call, Operation, Service
from hanabi.ledger.log_errors import InvalidParameter
from hanabi.ledger.patterns.pattern import compile_pattern
from hanabi.ledger.search import decode_position, encode_position
from hanabi.quotas import (
    LOG_BATCH_BYTES,
    LOG_BATCH_SPAN_MS,
    LOG_EVENT_AGE_MS,
    LOG_EVENT_FUTURE_MS,
    LOG_EVENT_OVERHEAD_BYTES,
    LOG_PAGE_EVENTS,
    LOG_RETENTION_DAYS,
)
from hanabi.services.logs.targets import LogTargets, Stream


def operations(on: LogTargets, logs: "LogsService") -> Mapping[str, Operation[Any]]:
    """All operations of CloudWatch Logs that are served."""
    return {
        "CreateLogGroup": on.group("CreateLogGroup", logs.create_log_group),
        "CreateLogStream": on.group("CreateLogStream", logs.create_log_stream),
        "DeleteLogGroup": on.group("DeleteLogGroup", logs.delete_log_group),
        "DeleteLogStream": on.stream("DeleteLogStream", logs.delete_log_stream),
        "DeleteRetentionPolicy": on.group("DeleteRetentionPolicy", logs.delete_retention_policy),
        "DescribeLogGroups": on.account("DescribeLogGroups", logs.describe_log_groups),
        "DescribeLogStreams": on.identified("DescribeLogStreams", logs.describe_log_streams),
        "FilterLogEvents": on.identified("FilterLogEvents", logs.filter_log_events),
        "GetLogEvents": on.stream("GetLogEvents", logs.get_log_events),
        "ListTagsForResource": on.tagged("ListTagsForResource", logs.list_tags_for_resource),
        "PutLogEvents": on.stream("PutLogEvents", logs.put_log_events),
        "PutRetentionPolicy": on.group("PutRetentionPolicy", logs.put_retention_policy),
    }


class LogsService(Service):
    """The `logs` service."""

    name = "logs"
    wording = Wording(hidden=frozenset({"LogGroupIdentifier"}))  # moto's test_get_log_events_using_arn, verified on AWS

    def __init__(self, store: Logs, clock: Clock, account_region: arns.AccountRegion) -> None:
        self._store = store
        self._clock = clock
        self.operations = operations(LogTargets(account_region), self)

    # --- groups -------------------------------------------------------------------------------------------------------

    async def create_log_group(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        for member, default in (("kmsKeyId", None), ("logGroupClass", "STANDARD"), ("deletionProtectionEnabled", False)):
            if params.get(member, default) != default:
                raise InvalidParameter(f"{member} is not supported")
        await self._store.create_group(group, dict(params.get("tags") or {}))
        return {}

    async def delete_log_group(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        await self._store.delete_group(group)
        return {}

    async def describe_log_groups(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        prefix, pattern = params.get("logGroupNamePrefix") or "", params.get("logGroupNamePattern") or ""
        if prefix and pattern:
            raise InvalidParameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        if params.get("logGroupIdentifiers") or params.get("includeLinkedAccounts"):
            raise InvalidParameter("logGroupIdentifiers and includeLinkedAccounts are not supported")
        if params.get("logGroupClass", "STANDARD") != "STANDARD":
            return {"logGroups": []}
        limit = params.get("limit") or 50
        after = _read_token(params["nextToken"]) if params.get("nextToken") else ""
        groups = await self._store.groups(prefix=prefix, pattern=pattern, after=after, limit=limit + 1)
        answer: dict[str, Any] = {"logGroups": [_describe_group(call, group) for group in groups[:limit]]}
        if len(groups) > limit:
            answer["nextToken"] = _write_token(groups[limit - 1].name)
        return answer

    async def put_retention_policy(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        if params["retentionInDays"] not in LOG_RETENTION_DAYS:
            raise InvalidParameter(
                f"1 validation error detected: Value '{params['retentionInDays']}' at 'retentionInDays' failed to satisfy constraint: "
                f"Member must satisfy enum value set: {list(LOG_RETENTION_DAYS)}"
            )
        await self._store.set_retention(group, params["retentionInDays"])
        return {}

    async def delete_retention_policy(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        await self._store.set_retention(group, None)
        return {}

    async def list_tags_for_resource(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        return {"tags": (await self._store.group(group)).tags}

    # --- streams ------------------------------------------------------------------------------------------------------

    async def create_log_stream(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        if not params["logStreamName"].isprintable():
            raise InvalidParameter("1 validation error detected: Value at 'logStreamName' has characters that are not printable")
        await self._store.create_stream(group, params["logStreamName"])
        return {}

    async def delete_log_stream(self, call: Call, params: dict[str, Any], target: Stream) -> dict[str, Any]:
        await self._store.delete_stream(*target)
        return {}

    async def describe_log_streams(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        prefix = params.get("logStreamNamePrefix") or ""
        by_time = params.get("orderBy") == "LastEventTime"
        if by_time and prefix:
            raise InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
        streams = await self._store.streams(group, prefix=prefix)
        key = (lambda s: (s.last_ms or s.created_ms, s.name)) if by_time else (lambda s: s.name)
        streams.sort(key=key, reverse=bool(params.get("descending")))
        first = 0
        if params.get("nextToken"):
            last = _read_token(params["nextToken"])
            first = 1 + next((i for i, stream in enumerate(streams) if stream.name == last), len(streams))
        limit = params.get("limit") or 50
        answer: dict[str, Any] = {"logStreams": [_describe_stream(call, group, stream) for stream in streams[first : first + limit]]}
        if len(streams) > first + limit:
            answer["nextToken"] = _write_token(streams[first + limit - 1].name)
        return answer

    # --- events -------------------------------------------------------------------------------------------------------

    async def put_log_events(self, call: Call, params: dict[str, Any], target: Stream) -> dict[str, Any]:
        events = [(int(event["timestamp"]), str(event["message"])) for event in params["logEvents"]]
        if sum(len(text.encode("utf-8", "replace")) + LOG_EVENT_OVERHEAD_BYTES for _, text in events) > LOG_BATCH_BYTES:
            raise InvalidParameter(f"Upload too large: bytes exceed limit of {LOG_BATCH_BYTES}")
        times = [when for when, _ in events]
        if times != sorted(times):
            raise InvalidParameter("Log events in a single PutLogEvents request must be in chronological order.")
        now_ms = round(self._clock.time() * 1000)
        kept = [event for event in events if now_ms - LOG_EVENT_AGE_MS <= event[0] <= now_ms + LOG_EVENT_FUTURE_MS]
        if kept and kept[-1][0] - kept[0][0] > LOG_BATCH_SPAN_MS:
            raise InvalidParameter("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
        await self._store.put(*target, kept)
        rejected: dict[str, int] = {}
        if times[0] < now_ms - LOG_EVENT_AGE_MS:
            rejected["tooOldLogEventEndIndex"] = sum(when < now_ms - LOG_EVENT_AGE_MS for when in times)
        if times[-1] > now_ms + LOG_EVENT_FUTURE_MS:
            rejected["tooNewLogEventStartIndex"] = sum(when <= now_ms + LOG_EVENT_FUTURE_MS for when in times)
        return {"nextSequenceToken": "0", **({"rejectedLogEventsInfo": rejected} if rejected else {})}

    async def filter_log_events(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        names, prefix = params.get("logStreamNames") or [], params.get("logStreamNamePrefix") or ""
        if names and prefix:
            raise InvalidParameter("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
        backward = params.get("startFromHead") is False
        after = None
        if params.get("nextToken"):
            backward, after = _read_position_token(params["nextToken"])
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
            answer["nextToken"] = _write_position_token(page.last, backward)
        return answer

    async def get_log_events(self, call: Call, params: dict[str, Any], target: Stream) -> dict[str, Any]:
        backward, after = not params.get("startFromHead"), None
        if params.get("nextToken"):
            backward, after = _read_position_token(params["nextToken"])
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
            "nextForwardToken": _write_position_token(last, backward=False),
            "nextBackwardToken": _write_position_token(first, backward=True),
        }


def _arn(call: Call, group: str) -> str:
    return f"arn:aws:logs:{call.region}:{call.principal.account}:log-group:{group}"


def _describe_group(call: Call, group: LogGroup) -> dict[str, Any]:
    description: dict[str, Any] = {
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "metricFilterCount": 0,
        "arn": _arn(call, group.name) + ":*",
        "storedBytes": group.stored_bytes,
        "logGroupClass": "STANDARD",
        "logGroupArn": _arn(call, group.name),
        "deletionProtectionEnabled": False,
    }
    if group.retention_days is not None:
        description["retentionInDays"] = group.retention_days
    return description


def _describe_stream(call: Call, group: str, stream: LogStream) -> dict[str, Any]:
    description: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": f"{_arn(call, group)}:log-stream:{stream.name}",
        "uploadSequenceToken": "0",
        "storedBytes": 0,  # as in AWS since 2019
    }
    times = (("firstEventTimestamp", stream.first_ms), ("lastEventTimestamp", stream.last_ms), ("lastIngestionTime", stream.ingested_ms))
    return description | {name: when for name, when in times if when is not None}


def _write_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidParameter("The specified nextToken is invalid.") from None


def _write_position_token(position: EventPosition, backward: bool) -> str:
    return f"{'b' if backward else 'f'}/{encode_position(position)}/s"


def _read_position_token(token: str) -> tuple[bool, EventPosition]:
    parts = token.split("/")
    if len(parts) != 3 or parts[0] not in ("f", "b") or parts[2] != "s":
        raise InvalidParameter("The specified nextToken is invalid.")
    return parts[0] == "b", decode_position(parts[1])
