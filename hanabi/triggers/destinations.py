"""Where the results of asynchronous events go: to another function, as a new event that carries a record of the first one.

The record and its conditions are as recorded on AWS ("Retaining records of asynchronous invocations"). Other kinds are not served yet.
"""

import asyncio
import json
import uuid
from datetime import UTC, datetime

from hanabi.contracts.events import Event
from hanabi.contracts.functions import EventRules
from hanabi.contracts.invocation import Result
from hanabi.contracts.lineage import extend
from hanabi.http.json_size import SMALL_BYTES, has_too_many_values
from hanabi.quotas import EVENT_PAYLOAD_BYTES
from hanabi.triggers.event_states import EventTrigger

CONDITIONS = {
    EventTrigger.SUCCEEDED: "Success",
    EventTrigger.EXHAUSTED: "RetriesExhausted",
    EventTrigger.EXPIRED: "EventAgeExceeded",
    EventTrigger.RECURSED: "RetriesExhausted",
    EventTrigger.UNRESERVED: "ZeroReservedConcurrency",
}


def destination(rules: EventRules, trigger: EventTrigger) -> str:
    """Return the ARN of the function that gets the result of an event that ended so; empty: none does."""
    if trigger not in CONDITIONS:
        return ""
    arn = (rules.on_success if trigger is EventTrigger.SUCCEEDED else rules.on_failure) or ""
    return arn if arn.split(":")[2:3] == ["lambda"] else ""


async def make_follow_up(event: Event, rules: EventRules, trigger: EventTrigger, result: Result | None, now_ms: int) -> Event | None:
    """Make the event for the destination of an event that has ended, if it has one. `result` is of its last run."""
    arn = destination(rules, trigger)
    if not arn:
        return None
    _, _, _, _, _, _, name, *qualifier = arn.split(":")
    scope = event.function[: event.function.rfind(":") + 1]  # its account and region: a destination is in the same
    return Event(
        id=0,
        accepted_ms=now_ms,
        attempts=0,
        refusals=0,
        request_id=str(uuid.uuid4()),
        function=scope + name,
        qualifier=qualifier[0] if qualifier else None,
        client_context="",
        trace=extend(event.trace, ":".join(arn.split(":")[:7])),
        payload=await _make_record(event, rules, trigger, result, now_ms),
    )


async def _make_record(event: Event, rules: EventRules, trigger: EventTrigger, result: Result | None, now_ms: int) -> bytes:
    """Make the record. Payloads that make it too large for an event are left out, the answer's first."""
    ran = trigger not in (EventTrigger.UNRESERVED, EventTrigger.RECURSED)
    head = {
        "version": "1.0",
        "timestamp": f"{datetime.fromtimestamp(now_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}Z",
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": rules.arn,
            "condition": CONDITIONS[trigger],
            "approximateInvokeCount": event.attempts + (trigger is EventTrigger.SUCCEEDED),
        },
    }
    context, answer = b"", b""
    if result is not None and ran:
        said = {"statusCode": 200, "executedVersion": result.version}
        said |= {"functionError": result.function_error} if result.function_error else {}
        context = b',"responseContext":' + json.dumps(said).encode()
        answer = await _read_answer(result.payload if isinstance(result.payload, bytes) else b"null")
    asked = event.payload or b"{}"
    size = EVENT_PAYLOAD_BYTES - 1024  # of both payloads: the rest is smaller
    answer = answer if len(answer) + len(asked) <= size else b"null"
    asked = asked if len(asked) <= size else b"null"
    response = context + b',"responsePayload":' + answer if context else b""
    return json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"requestPayload":' + asked + response + b"}"


async def _read_answer(payload: bytes) -> bytes:
    """Return an answer if it is JSON, else its text as a string: functions answer whatever they like."""
    if len(payload) > EVENT_PAYLOAD_BYTES or has_too_many_values(payload):
        return b"null"
    try:
        if len(payload) > SMALL_BYTES:
            await asyncio.to_thread(json.loads, payload)
        else:
            json.loads(payload)
        return payload
    except (ValueError, RecursionError):
        return json.dumps(payload.decode("utf-8", "replace")).encode() if payload else b"null"
