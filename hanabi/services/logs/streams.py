"""Log streams: made, described and deleted."""

from typing import Any

from hanabi.contracts.logs import Logs, LogStream
from hanabi.edge.service import Call
from hanabi.ledger.log_errors import InvalidParameter
from hanabi.services.logs.targets import Stream, group_arn
from hanabi.services.logs.tokens import read_name, sequence_token, write_name


class StreamOperations:
    def __init__(self, store: Logs) -> None:
        self._store = store

    async def create(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        if not params["logStreamName"].isprintable():
            raise InvalidParameter("1 validation error detected: Value at 'logStreamName' has characters that are not printable")
        await self._store.create_stream(group, params["logStreamName"])
        return {}

    async def delete(self, call: Call, params: dict[str, Any], target: Stream) -> dict[str, Any]:
        await self._store.delete_stream(*target)
        return {}

    async def describe(self, call: Call, params: dict[str, Any], group: str) -> dict[str, Any]:
        prefix = params.get("logStreamNamePrefix") or ""
        by_time = params.get("orderBy") == "LastEventTime"
        if by_time and prefix:
            raise InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
        streams = await self._store.streams(group, prefix=prefix)
        key = (lambda s: (s.last_ms or s.created_ms, s.name)) if by_time else (lambda s: s.name)
        streams.sort(key=key, reverse=bool(params.get("descending")))
        first = 0
        if params.get("nextToken"):
            last = read_name(params["nextToken"])
            first = 1 + next((i for i, stream in enumerate(streams) if stream.name == last), len(streams))
        limit = params.get("limit") or 50
        answer: dict[str, Any] = {"logStreams": [_describe(call, group, stream) for stream in streams[first : first + limit]]}
        if len(streams) > first + limit:
            answer["nextToken"] = write_name(streams[first + limit - 1].name)
        return answer


def _describe(call: Call, group: str, stream: LogStream) -> dict[str, Any]:
    description: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": f"{group_arn(call, group)}:log-stream:{stream.name}",
        "storedBytes": 0,  # as in AWS since 2019
    }
    if stream.ingested_ms is not None:
        description["uploadSequenceToken"] = sequence_token(stream.id, stream.ingested_ms)
    times = (("firstEventTimestamp", stream.first_ms), ("lastEventTimestamp", stream.last_ms), ("lastIngestionTime", stream.ingested_ms))
    return description | {name: when for name, when in times if when is not None}
