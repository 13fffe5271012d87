"""Messages of an event stream, read by botocore's own parser."""

import random
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer, EventStreamMessage
from botocore.parsers import EventStreamJSONParser

from hanabi.edge.protocols.event_stream import PAYLOAD_MAX_BYTES, EventStream, encode_message
from hanabi.edge.protocols.model import load
from hanabi.errors import ApiError, ServiceError

SHAPE = load("lambda").operation("InvokeWithResponseStream").output_shape.members["EventStream"]


def read(data: bytes, piece: int = 1 << 20) -> list[EventStreamMessage]:
    """As a client does it, in pieces of a size."""
    buffer, messages = EventStreamBuffer(), []
    for start in range(0, len(data), piece):
        buffer.add_data(data[start : start + piece])
        messages += list(buffer)
    return messages


def parse(message: EventStreamMessage) -> Any:
    return EventStreamJSONParser().parse(message.to_response_dict(), SHAPE)


def test_the_events_of_a_response_stream() -> None:
    stream = EventStream(load("lambda"), "InvokeWithResponseStream")
    chunks = [b"", b"hello", bytes(range(256)) * 100]
    end = {"ErrorCode": "Function.Error", "ErrorDetails": "it \u2603 failed", "LogResult": "bG9n"}
    data = b"".join(stream.encode("PayloadChunk", {"Payload": chunk}) for chunk in chunks) + stream.encode("InvokeComplete", end)
    for piece in (1 << 20, 7):
        messages = read(data, piece)
        assert [parse(message) for message in messages] == [{"PayloadChunk": {"Payload": chunk}} for chunk in chunks] + [
            {"InvokeComplete": end}
        ]
    assert messages[0].headers == {
        ":message-type": "event",
        ":event-type": "PayloadChunk",
        ":content-type": "application/octet-stream",
    }


def test_members_that_are_not_there_are_left_out() -> None:
    (message,) = read(EventStream(load("lambda"), "InvokeWithResponseStream").encode("InvokeComplete", {"ErrorCode": None}))
    assert message.payload == b"{}" and parse(message) == {"InvokeComplete": {}}


def test_an_error_in_the_middle() -> None:
    (message,) = read(EventStream(load("lambda"), "InvokeWithResponseStream").encode_error(ServiceError("it ended")))
    assert message.to_response_dict()["status_code"] == 400
    assert message.headers == {":message-type": "error", ":error-code": "ServiceException", ":error-message": "it ended"}


def test_an_error_that_the_stream_has_in_its_model() -> None:
    class Throttled(ApiError):
        code = "SessionStreamingException"
        status = 400

    (message,) = read(EventStream(load("logs"), "StartLiveTail").encode_error(Throttled("slowly")))
    shape = load("logs").operation("StartLiveTail").output_shape.members["responseStream"]
    parsed = EventStreamJSONParser().parse(message.to_response_dict(), shape)
    assert parsed["Error"] == {"Code": "SessionStreamingException", "Message": "slowly"}


def test_any_headers_and_payloads() -> None:
    rng = random.Random(1)
    for _ in range(300):
        headers = {f"h{number}" + "x" * rng.randrange(200): "v\u00e4" * rng.randrange(50) for number in range(rng.randrange(5))}
        payload = rng.randbytes(rng.randrange(2000))
        (message,) = read(encode_message(headers.items(), payload), rng.randrange(1, 500))
        assert (message.headers, message.payload) == (headers, payload)


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        ([], b"x" * (PAYLOAD_MAX_BYTES + 1)),
        ([("", "v")], b""),
        ([("n" * 256, "v")], b""),
        ([("n", "v" * 65536)], b""),
        ([(f"n{number}", "v" * 65000) for number in range(3)], b""),
    ],
)
def test_what_the_format_cannot_hold(headers: list[tuple[str, str]], payload: bytes) -> None:
    with pytest.raises(ValueError, match="at most|too long"):
        encode_message(headers, payload)


def test_operations_without_events_have_no_stream() -> None:
    with pytest.raises(ValueError, match="lambda:Invoke answers with no event stream"):
        EventStream(load("lambda"), "Invoke")
    with pytest.raises(KeyError):
        EventStream(load("lambda"), "InvokeWithResponseStream").encode("Nothing", {})
