"""Log streams: order, pages and what is described."""

from tests.unit.services.logs.support import GROUPS, Client


async def test_a_stream_has_times_and_a_sequence_token_once_it_has_events() -> None:
    client = Client()
    await client.group("g", "s")
    (stream,) = (await client("DescribeLogStreams", logGroupName="g"))["logStreams"]
    assert stream == {"logStreamName": "s", "creationTime": client.now_ms, "arn": f"{GROUPS}:g:log-stream:s", "storedBytes": 0}
    token = (await client.put("a", "b"))["nextSequenceToken"]
    (stream,) = (await client("DescribeLogStreams", logGroupIdentifier=f"{GROUPS}:g"))["logStreams"]
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"]) == (client.now_ms, client.now_ms + 1)
    assert [len(each) for each in (token, stream["uploadSequenceToken"])] == [56, 56]


async def test_order_and_pages() -> None:
    client = Client()
    await client.group("g", "a", "b", "c")
    for stream, at_ms in (("a", 3), ("b", 1), ("c", 2)):
        await client.put("x", stream=stream, at_ms=client.now_ms + at_ms)

    async def names(**params: object) -> list[str]:
        found: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = await client("DescribeLogStreams", logGroupName="g", limit=2, **params, **token)
            found += [stream["logStreamName"] for stream in page["logStreams"]]
            if "nextToken" not in page:
                return found
            token = {"nextToken": page["nextToken"]}

    assert await names() == ["a", "b", "c"] and await names(descending=True) == ["c", "b", "a"]
    assert await names(orderBy="LastEventTime") == ["b", "c", "a"]
    assert await names(orderBy="LastEventTime", descending=True) == ["a", "c", "b"]
    assert await names(logStreamNamePrefix="b") == ["b"]


async def test_errors() -> None:
    client = Client()
    await client.group("g", "s")
    assert await client.fails("CreateLogStream", logGroupName="g", logStreamName="s") == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )
    assert await client.fails("DescribeLogStreams", logGroupName="g", orderBy="LastEventTime", logStreamNamePrefix="x") == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )
    assert await client.fails("DescribeLogStreams", logGroupName="g", logGroupIdentifier="g") == (
        "ValidationException",
        "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
    )
    assert (await client.fails("DescribeLogStreams"))[0] == "InvalidParameterException"
    assert await client.fails("DescribeLogStreams", logGroupName="g", nextToken="ä") == (
        "InvalidParameterException",
        "The specified nextToken is invalid.",
    )
