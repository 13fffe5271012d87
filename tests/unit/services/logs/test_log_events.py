"""Log events: what is put and rejected, and what filter patterns match."""

from tests.unit.services.logs.support import GROUPS, Client

DAY_MS = 86_400_000


async def test_what_is_too_old_expired_or_too_new_is_rejected() -> None:
    client = Client()
    await client.group("g", "s")
    now = client.now_ms

    async def put(*days: float) -> dict[str, int] | None:
        events = [{"timestamp": now + round(each * DAY_MS), "message": "x"} for each in days]
        answer = await client("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=events, sequenceToken="ignored")
        found: dict[str, int] | None = answer.get("rejectedLogEventsInfo")
        return found

    assert await put(0) is None
    assert await put(-30) == {"tooOldLogEventEndIndex": 1}
    assert await put(-15, -14.5, -0.1, 0, 1) == {"tooOldLogEventEndIndex": 2, "tooNewLogEventStartIndex": 4}
    await client("PutRetentionPolicy", logGroupName="g", retentionInDays=3)
    assert await put(-15, -4, -0.1, 0) == {"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2}
    assert await put(-4) == {"expiredLogEventEndIndex": 1}
    assert len((await client("GetLogEvents", logGroupName="g", logStreamName="s"))["events"]) == 5


async def test_batches_are_refused_whole() -> None:
    client = Client()
    await client.group("g", "s")
    code = "InvalidParameterException"

    async def fails(*events: tuple[int, str]) -> str:
        batch = [{"timestamp": client.now_ms + at_ms, "message": text} for at_ms, text in events]
        found, message = await client.fails("PutLogEvents", logGroupName="g", logStreamName="s", logEvents=batch)
        assert found == code
        return message

    assert await fails((1, "a"), (0, "b")) == "Log events in a single PutLogEvents request must be in chronological order."
    assert (await fails((-2 * DAY_MS, "a"), (0, "b"))).endswith("cannot span more than 24 hours.")
    assert await fails((0, "ü" * 524_276)) == "Upload too large: 1048578 bytes exceeds limit of 1048576"
    assert (await client("FilterLogEvents", logGroupName="g"))["events"] == []


async def test_groups_by_name_and_arn() -> None:
    client = Client()
    await client.group("g", "s")
    await client.put("hello")
    for where in ({"logGroupName": "g"}, {"logGroupIdentifier": "g"}, {"logGroupIdentifier": f"{GROUPS}:g"}):
        assert len((await client("GetLogEvents", logStreamName="s", **where))["events"]) == 1
        assert len((await client("FilterLogEvents", **where))["events"]) == 1
    both = {"logGroupName": "g", "logGroupIdentifier": "g"}
    assert (await client.fails("GetLogEvents", logStreamName="s", **both))[0] == "ValidationException"
    assert (await client.fails("FilterLogEvents", **both))[0] == "ValidationException"


async def test_patterns() -> None:
    client = Client()
    await client.group("g", "s", "t")
    await client.put("plain ERROR", '{"level": "ERROR", "ms": 80}', '{"level": "INFO", "ms": 5}', "REPORT took 80 ms")

    async def found(pattern: str) -> list[int]:
        events = (await client("FilterLogEvents", logGroupName="g", filterPattern=pattern))["events"]
        return [event["timestamp"] - client.now_ms for event in events]

    assert await found("") == [0, 1, 2, 3]
    assert await found("ERROR -plain") == [1]
    assert await found('{ $.level = "ERROR" || $.ms < 10 }') == [1, 2]
    assert await found("[kind = REPORT, ..., ms > 50, unit]") == [3]
    assert await found("%^[a-z]+ E%") == [0]
    assert await client.fails("FilterLogEvents", logGroupName="g", filterPattern="{ $.a == 1 }") == (
        "InvalidParameterException",
        "Invalid filter pattern",
    )
    assert (await client.fails("FilterLogEvents", logGroupName="g", logStreamNames=["s"], logStreamNamePrefix="t"))[0] == (
        "InvalidParameterException"
    )


async def test_a_pattern_is_tried_on_messages() -> None:
    client = Client()
    messages = ["[ERROR] 400 BAD REQUEST", "[INFO] 200 OK"]
    matched = await client("TestMetricFilter", filterPattern="ERROR", logEventMessages=messages)
    assert matched == {"matches": [{"eventNumber": 1, "eventMessage": messages[0], "extractedValues": {}}]}
    matched = await client("TestMetricFilter", filterPattern="[level, code = 2*, ...]", logEventMessages=messages)
    extracted = {"$level": "INFO", "$code": "200", "$3": "OK"}
    assert matched == {"matches": [{"eventNumber": 2, "eventMessage": messages[1], "extractedValues": extracted}]}
    assert len((await client("TestMetricFilter", filterPattern="", logEventMessages=messages))["matches"]) == 2
    for pattern, message in (
        ("{ $.a == 1 }", "Invalid metric filter pattern"),
        ("a:b", "Invalid character(s) in term ':'"),
        ("[a", "If a filter pattern starts with '[' it must end with ']'"),
    ):
        assert await client.fails("TestMetricFilter", filterPattern=pattern, logEventMessages=["x"]) == (
            "InvalidParameterException",
            message,
        )
