"""Live Tail: its events each second, its limits and its end."""

import asyncio
from typing import Any

import pytest

from hanabi.errors import ApiError
from hanabi.quotas import LIVE_TAIL_EVENTS, LIVE_TAIL_SESSION_S, LIVE_TAIL_SESSIONS_MAX
from tests.unit.services.logs.support import GROUPS, MODEL, Client, check

STREAM = MODEL.operation_model("StartLiveTail").output_shape.members["responseStream"]


class Tail:
    def __init__(self, client: Client, events: Any) -> None:
        self._client = client
        self.events = events

    async def next(self) -> dict[str, Any]:
        """The next event; a second passes if there is none yet."""
        task = asyncio.ensure_future(anext(self.events))
        await asyncio.sleep(0)
        if not task.done():
            await self._client.clock.advance(1.0)
        name, members = await task
        check({member: value for member, value in members.items() if value != []}, STREAM.members[name])
        return dict(members)

    async def messages(self) -> list[str]:
        return [event["message"] for event in (await self.next())["sessionResults"]]


async def start(client: Client, *groups: str, **params: Any) -> Tail:
    answer = await client("StartLiveTail", logGroupIdentifiers=[f"{GROUPS}:{group}" for group in groups], **params)
    return Tail(client, answer["responseStream"])


async def test_there_is_an_update_each_second() -> None:
    client = Client()
    await client.group("g", "s")
    await client.group("h", "t")
    await client.put("before")
    tail = await start(client, "g", "h")
    first = await tail.next()
    assert first["logGroupIdentifiers"] == [f"{GROUPS}:g", f"{GROUPS}:h"] and first["requestId"] == "r" and len(first["sessionId"]) == 36
    assert await tail.next() == {"sessionMetadata": {"sampled": False}, "sessionResults": []}
    await client.put("one")
    at_ms = client.now_ms
    await client.put("two", group="h", stream="t")
    update = await tail.next()
    assert [event["message"] for event in update["sessionResults"]] == ["one", "two"]
    assert update["sessionResults"][1] == {
        "logGroupIdentifier": f"{GROUPS}:h",
        "logStreamName": "t",
        "message": "two",
        "timestamp": at_ms,
        "ingestionTime": at_ms,
    }
    assert await tail.messages() == []
    await client("DeleteLogGroup", logGroupName="h")
    assert await tail.messages() == []


async def test_streams_and_patterns() -> None:
    client = Client()
    await client.group("g", "app-1", "app-2", "system")
    by_name, by_prefix = await start(client, "g", logStreamNames=["app-1"]), await start(client, "g", logStreamNamePrefixes=["app"])
    by_pattern = await start(client, "g", logEventFilterPattern="{ $.n > 1 }")
    assert (await by_prefix.next())["logStreamNamePrefixes"] == ["app"]
    assert (await by_name.next())["logStreamNames"] == ["app-1"]
    assert (await by_pattern.next())["logEventFilterPattern"] == "{ $.n > 1 }"
    for number, stream in enumerate(("app-1", "app-2", "system")):
        await client.put(f'{{"n": {number}}}', stream=stream)
    assert await by_name.messages() == ['{"n": 0}']
    assert await by_prefix.messages() == ['{"n": 0}', '{"n": 1}']
    assert await by_pattern.messages() == ['{"n": 2}']


async def test_of_very_many_events_there_is_a_sample() -> None:
    client = Client()
    await client.group("g", "s")
    tail = await start(client, "g")
    await tail.next()
    await client.put(*map(str, range(LIVE_TAIL_EVENTS + 1)))
    update = await tail.next()
    assert update["sessionMetadata"] == {"sampled": True} and len(update["sessionResults"]) == LIVE_TAIL_EVENTS


async def test_a_session_ends_after_three_hours_or_when_the_server_stops() -> None:
    client = Client()
    await client.group("g", "s")
    tail, other = await start(client, "g"), await start(client, "g")
    await tail.next()
    await other.next()
    waiting = asyncio.ensure_future(anext(tail.events))
    await asyncio.sleep(0)
    await client.clock.advance(LIVE_TAIL_SESSION_S)
    await waiting
    with pytest.raises(ApiError) as caught:
        await tail.next()
    assert caught.value.code == "SessionTimeoutException"
    client.service.drain()
    with pytest.raises(StopAsyncIteration):
        await other.next()


async def test_limits_and_refusals() -> None:
    client = Client()
    await client.group("g", "s")
    await client.group("h", "s")
    identifiers = [f"{GROUPS}:g"]
    assert await client.fails("StartLiveTail", logGroupIdentifiers=identifiers, logStreamNames=["s"], logStreamNamePrefixes=["s"]) == (
        "InvalidParameterException",
        "Only one of logStreamNames or logStreamNamePrefixes can be provided.",
    )
    assert await client.fails("StartLiveTail", logGroupIdentifiers=[*identifiers, f"{GROUPS}:h"], logStreamNames=["s"]) == (
        "InvalidParameterException",
        "logStreamNames and logStreamNamePrefixes can only be used with a single log group.",
    )
    assert await client.fails("StartLiveTail", logGroupIdentifiers=identifiers, logEventFilterPattern="a:b") == (
        "InvalidParameterException",
        "Invalid filter pattern: Invalid character(s) in term ':'",
    )
    for identifier in (f"{GROUPS}:none", "g", f"{GROUPS.replace('000000000000', '111111111111')}:g"):
        assert (await client.fails("StartLiveTail", logGroupIdentifiers=[identifier]))[0] == "ResourceNotFoundException"
    tails = [await start(client, "g") for _ in range(LIVE_TAIL_SESSIONS_MAX)]
    assert (await client.fails("StartLiveTail", logGroupIdentifiers=identifiers))[0] == "LimitExceededException"
    await tails[0].events.aclose()
    await start(client, "g")
    for tail in tails:
        await tail.events.aclose()
    find = client.ledger.group

    async def find_later(name: str) -> Any:
        await asyncio.sleep(0)
        return await find(name)

    client.ledger.group = find_later  # type: ignore[method-assign]
    begun = await asyncio.gather(*(start(client, "g") for _ in range(3 * LIVE_TAIL_SESSIONS_MAX)), return_exceptions=True)
    assert sum(isinstance(each, Tail) for each in begun) == LIVE_TAIL_SESSIONS_MAX - 1  # those that begin at once are counted, too
