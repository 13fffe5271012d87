"""Records of events for the functions that get their results."""

import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.events import Event
from hanabi.contracts.functions import EventRules
from hanabi.contracts.invocation import Invocation
from hanabi.contracts.lineage import recursions
from hanabi.errors import StorageFailed, TooManyRequests
from hanabi.triggers.destinations import destination, make_follow_up
from hanabi.triggers.event_states import EventState, EventTrigger
from tests.unit.triggers.support import FixedCatalog, make_result, make_route, open_queue
from tests.waiting import until

ARN = make_route().version.arn
NEXT = make_route("next").version.arn
SQS = "arn:aws:sqs:us-east-1:000000000000:q"
RULES = EventRules(arn=f"{ARN}:$LATEST", on_success=f"{NEXT}:live", on_failure=NEXT)
EVENT = Event(1, 0, 0, 0, "id-1", "hello", None, "", "Root=1-2-3", b'{"a": 1}')


def run(error: str | None = None, payload: bytes = b'{"b": 2}') -> Any:
    return make_result(Invocation(request_id="id-1", route=make_route(), payload=b""), error, payload)


def test_only_functions_and_only_what_has_ended_in_a_way_that_is_told() -> None:
    assert destination(RULES, EventTrigger.SUCCEEDED) == f"{NEXT}:live" and destination(RULES, EventTrigger.EXPIRED) == NEXT
    assert destination(EventRules(on_success=SQS, on_failure=SQS), EventTrigger.SUCCEEDED) == ""
    assert destination(RULES, EventTrigger.GONE) == destination(EventRules(), EventTrigger.EXHAUSTED) == ""


async def test_the_record_of_a_success() -> None:
    event = await make_follow_up(EVENT, RULES, EventTrigger.SUCCEEDED, run(), 1_764_380_000_123)
    assert event is not None and (event.function, event.qualifier, event.attempts) == ("next", "live", 0)
    assert event.request_id != "id-1" and event.trace.startswith("Root=1-2-3;Lineage=") and recursions(event.trace, NEXT) == 0
    assert json.loads(event.payload) == {
        "version": "1.0",
        "timestamp": "2025-11-29T01:33:20.123Z",
        "requestContext": {"requestId": "id-1", "functionArn": f"{ARN}:$LATEST", "condition": "Success", "approximateInvokeCount": 1},
        "requestPayload": {"a": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"b": 2},
    }


async def test_a_destination_is_in_the_account_and_region_of_its_event() -> None:
    elsewhere = Event(1, 0, 0, 0, "id-1", "111122223333:eu-west-1:hello", None, "", "", b"{}")
    event = await make_follow_up(elsewhere, RULES, EventTrigger.SUCCEEDED, run(), 0)
    assert event is not None and (event.function, event.qualifier) == ("111122223333:eu-west-1:next", "live")


@pytest.mark.parametrize(
    ("trigger", "condition", "count"),
    [
        (EventTrigger.EXHAUSTED, "RetriesExhausted", 3),
        (EventTrigger.EXPIRED, "EventAgeExceeded", 1),
        (EventTrigger.UNRESERVED, "ZeroReservedConcurrency", 0),
    ],
)
async def test_the_record_of_a_failure(trigger: EventTrigger, condition: str, count: int) -> None:
    failed = Event(1, 0, count, 0, "id-1", "hello", None, "", "t", b"")
    event = await make_follow_up(failed, RULES, trigger, run("Unhandled", b'{"errorMessage":"x"}') if count else None, 0)
    assert event is not None and (event.function, event.qualifier) == ("next", None)
    record = json.loads(event.payload)
    assert (record["requestContext"]["condition"], record["requestContext"]["approximateInvokeCount"]) == (condition, count)
    assert record["requestPayload"] == {}
    if count:
        assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
        assert record["responsePayload"] == {"errorMessage": "x"}
    else:
        assert "responseContext" not in record and "responsePayload" not in record


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"", None),
        (b"no json", "no json"),
        (b'null},"requestContext":{"condition":"forged"', 'null},"requestContext":{"condition":"forged"'),
        (b"\xff", "\ufffd"),
        (b'"' + b"x" * 100_000 + b'"', "x" * 100_000),
        (b"[" * 100_000, None),
        (b'"' + b"x" * 1_048_000 + b'"', None),
    ],
)
async def test_answers_are_json_or_text_and_bounded(answer: bytes, shown: Any) -> None:
    event = await make_follow_up(EVENT, RULES, EventTrigger.SUCCEEDED, run(payload=answer), 0)
    assert event is not None and len(event.payload) <= 1_048_576
    record = json.loads(event.payload)
    assert record["responsePayload"] == shown and record["requestContext"]["condition"] == "Success"


async def test_results_run_their_function_once_whatever_happens_in_between(tmp_path: Path) -> None:
    catalog = FixedCatalog("hello", "next")
    catalog.rules["hello", None] = RULES
    async with open_queue(tmp_path, catalog=catalog) as setting:
        await setting.queue.open()
        await setting.put("id-1", payload=b'{"a": 1}')
        await setting.queue.wait_idle()
        first, second = (invocation for _, invocation in setting.invoker.seen)
        assert (first.request_id, second.route.version.name) == ("id-1", "next")
        assert json.loads(second.payload)["requestContext"]["requestId"] == "id-1"
        assert setting.queue.meter.ended[EventState.DONE] == 2 and setting.queue.meter.backlog == await setting.queue.backlog() == 0


async def test_functions_that_answer_each_other_are_stopped(tmp_path: Path) -> None:
    catalog = FixedCatalog("hello", "next")
    catalog.rules["hello", None] = EventRules(arn=ARN, on_success=NEXT)
    catalog.rules["next", None] = EventRules(arn=NEXT, on_success=ARN)
    async with open_queue(tmp_path, catalog=catalog) as setting:
        await setting.queue.open()
        await setting.put("id-1")
        await setting.queue.wait_idle()
        assert 32 <= len(setting.invoker.seen) <= 34 and await setting.queue.backlog() == 0


async def test_without_concurrency_an_event_goes_to_its_destination_at_once(tmp_path: Path) -> None:
    catalog = FixedCatalog("hello", "next")
    catalog.routes["hello"].concurrency.reserved = 0
    async with open_queue(tmp_path, catalog=catalog) as setting:
        throttle = TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded")
        setting.invoker.script = lambda invocation: throttle if invocation.route.version.name == "hello" else None
        await setting.queue.open()
        await setting.put("waits")
        await setting.queue.wait_idle()
        assert await setting.queue.backlog() == 1
        catalog.rules["hello", None] = RULES
        await setting.put("told")
        await setting.queue.wait_idle()
        (record,) = [json.loads(each.payload) for _, each in setting.invoker.seen if each.route.version.name == "next"]
        assert (record["requestContext"]["requestId"], record["requestContext"]["condition"]) == ("told", "ZeroReservedConcurrency")


async def test_a_follow_up_outlives_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = FixedCatalog("hello", "next")
    catalog.rules["hello", None] = RULES
    async with open_queue(tmp_path, catalog=catalog) as setting:
        works, apply = False, setting.log.apply

        async def fail_once(changes: Any) -> int | None:
            if not works:
                raise StorageFailed("no room")
            return await apply(changes)

        monkeypatch.setattr(setting.log, "apply", fail_once)
        await setting.queue.open()
        await setting.put("id-1")
        await setting.queue.wait_idle()
        assert setting.invoker.ids == ["id-1"]
        works = True
        await until(lambda: len(setting.invoker.seen) == 2, clock=setting.clock)
        await setting.queue.wait_idle()
        assert [each.route.version.name for _, each in setting.invoker.seen] == ["hello", "next"]
        assert await setting.queue.backlog() == 0
