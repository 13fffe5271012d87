"""CloudWatch Logs on the log store: pages, tokens, order, errors."""

import random
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion
from hanabi.edge.service import Call
from hanabi.errors import ApiError
from hanabi.ledger.logs import LogStore
from hanabi.services.logs.service import LogsService
from hanabi.testing import ManualClock
from tests.unit.ledger.support import GROUP, STREAM, RecordStore, open_record

pytestmark = pytest.mark.usefixtures("index_writer")

MODEL = ServiceModel(botocore.loaders.Loader().load_service_model("logs", "service-2"))
OWNER = Principal("000000000000", "arn:aws:iam::000000000000:root", "000000000000", True)


def _check(values: dict[str, Any], shape: Any) -> None:
    """What goes in and what comes out is what the model says, to the member."""
    if shape is None:
        assert values == {}
        return
    report = ParamValidator().validate(values, shape)
    assert not report.has_errors(), report.generate_report()


class Client:
    """Calls operations as the edge does."""

    def __init__(self, store: RecordStore, clock: ManualClock) -> None:
        self._service = LogsService(store.logs, clock, AccountRegion(OWNER.account, "us-east-1"))

    async def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        request = HttpRequest("POST", "/", "/", "", [], b"")
        call = Call(
            request_id="r", principal=OWNER, account_region=AccountRegion(OWNER.account, "us-east-1"), request=request, operation=operation
        )
        shapes = MODEL.operation_model(operation)
        _check(params, shapes.input_shape)
        found = self._service.operations[operation]
        answer = dict(await found.handler(call, params, found.resolve(params)))
        _check(answer, shapes.output_shape)
        return answer

    async def all(self, operation: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """As boto3's paginators do it."""
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            page = await self(operation, **params, **token)
            found += page[key]
            if "nextToken" not in page:
                return found
            assert token != {"nextToken": page["nextToken"]}
            token = {"nextToken": page["nextToken"]}

    async def fails(self, operation: str, **params: Any) -> tuple[str, int, str]:
        with pytest.raises(ApiError) as caught:
            await self(operation, **params)
        return caught.value.code, caught.value.status, caught.value.message


async def test_errors_are_those_of_aws(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        no_group = ("ResourceNotFoundException", 400, "The specified log group does not exist.")
        no_stream = ("ResourceNotFoundException", 400, "The specified log stream does not exist.")
        assert await client.fails("FilterLogEvents", logGroupName="g") == no_group
        assert await client.fails("GetLogEvents", logGroupName="g", logStreamName="s") == no_group
        assert await client.fails("DescribeLogStreams", logGroupName="g") == no_group
        assert await client.fails("DeleteLogGroup", logGroupName="g") == no_group
        assert await client.fails("PutRetentionPolicy", logGroupName="g", retentionInDays=1) == no_group
        await client("CreateLogGroup", logGroupName="g")
        assert await client.fails("CreateLogGroup", logGroupName="g") == (
            "ResourceAlreadyExistsException",
            400,
            "The specified log group already exists",
        )
        assert await client.fails("GetLogEvents", logGroupName="g", logStreamName="s") == no_stream
        event = {"timestamp": round(clock.time() * 1000), "message": "x"}
        assert await client.fails("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=[event]) == no_stream
        await client("CreateLogStream", logGroupName="g", logStreamName="s")
        assert (await client.fails("CreateLogStream", logGroupName="g", logStreamName="s"))[0] == "ResourceAlreadyExistsException"
        assert (await client.fails("PutRetentionPolicy", logGroupName="g", retentionInDays=2))[0] == "InvalidParameterException"
        assert (await client.fails("CreateLogGroup", logGroupName="k", kmsKeyId="key"))[0] == "InvalidParameterException"
        for token in ("junk", "f/1/s", "f/" + "9" * 56 + "/s", "x/" + "3" * 56 + "/s"):
            assert (await client.fails("FilterLogEvents", logGroupName="g", nextToken=token))[0] == "InvalidParameterException"
        assert (await client.fails("FilterLogEvents", logGroupName="g", filterPattern="{ $.a = 1"))[0] == "InvalidParameterException"
        await client("DeleteLogGroup", logGroupName="g")
        assert (await client("DescribeLogGroups"))["logGroups"] == []


async def test_groups_and_streams(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        now = round(clock.time() * 1000)
        for i in range(7):
            store.journal.log(f"/aws/lambda/f{i}", f"2026/11/24/[$LATEST]{i}", [(now + i, "x")])
            store.journal.log("/aws/lambda/f0", f"s{i}", [(now + 100 - i, "x")])
        names = [group["logGroupName"] for group in await client.all("DescribeLogGroups", "logGroups", limit=3)]
        assert names == [f"/aws/lambda/f{i}" for i in range(7)]
        (group,) = (await client("DescribeLogGroups", logGroupNamePrefix="/aws/lambda/f3"))["logGroups"]
        assert group["arn"] == "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f3:*"
        assert group["storedBytes"] > 0 and group["creationTime"] == now
        by_pattern = (await client("DescribeLogGroups", logGroupNamePattern="lambda/f"))["logGroups"]
        assert len(by_pattern) == 7 and "storedBytes" not in by_pattern[0]
        streams = await client.all("DescribeLogStreams", "logStreams", logGroupName="/aws/lambda/f0", limit=2)
        assert [stream["logStreamName"] for stream in streams] == ["2026/11/24/[$LATEST]0", *(f"s{i}" for i in range(7))]
        latest = await client("DescribeLogStreams", logGroupName="/aws/lambda/f0", orderBy="LastEventTime", descending=True, limit=1)
        assert latest["logStreams"][0] | {"creationTime": 0} == {
            "logStreamName": "s0",
            "creationTime": 0,
            "firstEventTimestamp": now + 100,
            "lastEventTimestamp": now + 100,
            "lastIngestionTime": now,
            "arn": "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/f0:log-stream:s0",
            "uploadSequenceToken": latest["logStreams"][0]["uploadSequenceToken"],
            "storedBytes": 0,
        }
        await client("PutRetentionPolicy", logGroupName="/aws/lambda/f1", retentionInDays=7)
        assert (await client("DescribeLogGroups", logGroupNamePrefix="/aws/lambda/f1"))["logGroups"][0]["retentionInDays"] == 7
        await client("CreateLogGroup", logGroupName="tagged", tags={"a": "b"})
        arn = "arn:aws:logs:us-east-1:000000000000:log-group:tagged"
        assert await client("ListTagsForResource", resourceArn=arn) == {"tags": {"a": "b"}}


async def test_events_of_many_streams_come_in_order_whatever_the_page(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        start = round(clock.time() * 1000)
        rng = random.Random(7)
        wanted = []
        for number in range(400):
            stream = f"stream-{rng.randrange(5)}"
            times = sorted(start + rng.randrange(20_000) for _ in range(rng.randrange(1, 5)))
            events = [(when, f"event {number}.{i} {'ERROR' if rng.random() < 0.2 else 'ok'}") for i, when in enumerate(times)]
            store.journal.log(GROUP, stream, events)
            wanted += [(when, stream, text + "\n") for when, text in events]
            if number % 50 == 0:
                await store.journal.wait_indexed()

        async def filtered(**params: Any) -> list[tuple[int, str, str]]:
            events = await client.all("FilterLogEvents", "events", logGroupName=GROUP, **params)
            ids = [event["eventId"] for event in events]
            assert ids == sorted(set(ids), reverse=params.get("startFromHead") is False)
            return [(event["timestamp"], event["logStreamName"], event["message"]) for event in events]

        for limit in (1_000, 17):
            assert sorted(await filtered(limit=limit)) == sorted(wanted)
            assert sorted(await filtered(limit=limit, startFromHead=False)) == sorted(wanted)
        errors = await filtered(filterPattern="ERROR", limit=13)
        assert sorted(errors) == sorted(event for event in wanted if "ERROR" in event[2])
        part = await filtered(startTime=start + 5_000, endTime=start + 6_000)
        assert sorted(part) == sorted(event for event in wanted if start + 5_000 <= event[0] <= start + 6_000)
        part = await filtered(logStreamNames=["stream-1", "stream-2"], limit=50)
        assert sorted(part) == sorted(event for event in wanted if event[1] in ("stream-1", "stream-2"))
        part = await filtered(logStreamNamePrefix="stream-3")
        assert sorted(part) == sorted(event for event in wanted if event[1] == "stream-3")


async def test_get_log_events_walks_both_ways_and_ends_on_the_same_token(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        start = round(clock.time() * 1000)
        for i in range(25):
            store.journal.log(GROUP, STREAM, [(start + i, f"{i}")])
            if i % 4 == 0:
                await store.journal.wait_indexed()
        where = {"logGroupName": GROUP, "logStreamName": STREAM, "limit": 10}

        async def page(**params: Any) -> tuple[list[int], dict[str, Any]]:
            answer = await client("GetLogEvents", **where, **params)
            return [int(event["message"]) for event in answer["events"]], answer

        numbers, answer = await page()
        assert numbers == list(range(15, 25))
        numbers, before = await page(nextToken=answer["nextBackwardToken"])
        assert numbers == list(range(5, 15))
        numbers, before = await page(nextToken=before["nextBackwardToken"])
        assert numbers == list(range(5))
        numbers, again = await page(nextToken=before["nextBackwardToken"])
        assert numbers == [] and again["nextBackwardToken"] == before["nextBackwardToken"]
        numbers, end = await page(nextToken=answer["nextForwardToken"], startFromHead=True)
        assert numbers == [] and end["nextForwardToken"] == answer["nextForwardToken"]
        store.journal.log(GROUP, STREAM, [(start + 25, "25")])
        numbers, end = await page(nextToken=answer["nextForwardToken"], startFromHead=True)
        assert numbers == [25]
        forward: list[int] = []
        token: dict[str, str] = {}
        while True:
            numbers, answer = await page(startFromHead=True, **token)
            if token == {"nextToken": answer["nextForwardToken"]}:
                break
            token = {"nextToken": answer["nextForwardToken"]}
            forward += numbers
        assert forward == list(range(26))
        assert (await page(startTime=start + 3, endTime=start + 5, startFromHead=True))[0] == [3, 4]
        empty, answer = await page(startTime=start + 1000, startFromHead=True)
        store.journal.log(GROUP, STREAM, [(start + 1000, "1000")])
        assert (empty, (await page(nextToken=answer["nextForwardToken"]))[0]) == ([], [1000])


async def test_put_log_events(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        now = round(clock.time() * 1000)
        await client("CreateLogGroup", logGroupName="g")
        await client("CreateLogStream", logGroupName="g", logStreamName="s")
        where = {"logGroupName": "g", "logStreamName": "s"}

        def events(*pairs: tuple[int, str]) -> list[dict[str, Any]]:
            return [{"timestamp": when, "message": text} for when, text in pairs]

        answer = await client("PutLogEvents", **where, logEvents=events((now - 1000, "exactly\nthis"), (now, " and this")))
        assert "rejectedLogEventsInfo" not in answer
        found = (await client("GetLogEvents", **where, startFromHead=True))["events"]
        assert found == [
            {"timestamp": now - 1000, "message": "exactly\nthis", "ingestionTime": now},
            {"timestamp": now, "message": " and this", "ingestionTime": now},
        ]
        day = 86_400_000
        answer = await client("PutLogEvents", **where, logEvents=events((now - 15 * day, "old"), (now, "ok"), (now + day, "new")))
        assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2}
        assert (await client.fails("PutLogEvents", **where, logEvents=events((now, "b"), (now - 1, "a"))))[0] == "InvalidParameterException"
        assert (await client.fails("PutLogEvents", **where, logEvents=events((now - 2 * day, "a"), (now, "b"))))[2].endswith("24 hours.")
        assert (await client.fails("PutLogEvents", **where, logEvents=events((now, "x" * 1_048_576))))[2].startswith("Upload too large")


async def test_following_sees_each_event_once(tmp_path: Path) -> None:
    """`aws logs tail --follow`: filter from the time of the last event on, and leave out the ids already shown."""

    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        start = round(clock.time() * 1000)
        shown: list[str] = []
        seen: set[str] = set()
        since = start
        for step in range(20):
            store.journal.log(GROUP, f"s{step % 3}", [(start + step // 2, f"{step}")])
            for event in await client.all("FilterLogEvents", "events", logGroupIdentifier=GROUP, startTime=since, interleaved=True):
                if event["eventId"] not in seen:
                    shown.append(event["message"].strip())
                    seen.add(event["eventId"])
                    since = max(since, event["timestamp"])
        assert shown == [str(step) for step in range(20)]


async def test_the_groups_of_one_scope_are_not_those_of_another(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        home, other = store.logs, LogStore(store.journal, clock, "111111111111:eu-west-1:")
        for number, logs in enumerate((home, other)):
            for name in ("g", "h"):
                await logs.create_group(name, {"number": str(number)})
                await logs.create_stream(name, "s")
        store.journal.log("111111111111:eu-west-1:made/by/a/function", "s", [(0, "x")])
        assert [group.name for group in await home.groups()] == ["g", "h"]
        assert [group.name for group in await other.groups()] == ["g", "h", "made/by/a/function"]
        assert [group.name for group in await other.groups(prefix="made", pattern="func")] == ["made/by/a/function"]
        assert [group.name for group in await other.groups(after="g", limit=1)] == ["h"]
        assert await home.groups(pattern="1111") == await other.groups(pattern="1111") == await home.groups(prefix="1") == []
        place = (await other.tail(["g"], None)).place
        await other.put("g", "s", [(1, "other")])
        await home.put("g", "s", [(1, "home")])
        assert [(group, event.message) for group, event in (await other.tail(["g"], place)).events] == [("g", "other")]
        assert [event.message for event in (await home.find("g")).events] == ["home"]
        await other.change_tags("g", {"number": "7"}, [])
        await other.set_retention("h", 1)
        await other.delete_stream("g", "s")
        await other.delete_group("made/by/a/function")
        assert (await home.group("g")).tags == {"number": "0"} and (await home.group("h")).retention_days is None
        assert [stream.name for stream in await home.streams("g")] == ["s"] and await other.streams("g") == []
        assert [group.name for group in await other.groups()] == ["g", "h"]


async def test_pages_are_bounded_in_bytes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_record(tmp_path, clock) as store:
        client = Client(store, clock)
        start = round(clock.time() * 1000)
        for i in range(30):
            store.journal.log(GROUP, STREAM, [(start + i, "x" * 100_000)])
        page = await client("FilterLogEvents", logGroupName=GROUP)
        assert 1 <= len(page["events"]) <= 10 and "nextToken" in page
        assert len(await client.all("FilterLogEvents", "events", logGroupName=GROUP)) == 30
