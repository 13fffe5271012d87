"""What a VMM may answer, and what it may not."""

import json

import pytest

from hanabi.sandbox.firecracker.vmm_http import (
    BODY_MAX_BYTES,
    HEAD_MAX_BYTES,
    REQUEST_MAX_BYTES,
    Answer,
    MalformedAnswer,
    encode,
    take_answer,
)

VERSION = (
    b'HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\nContent-Length: 32\r\n\r\n{"firecracker_version":"1.12.1"}'
)
NOTHING = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\n\r\n"


def test_an_answer_is_taken_when_it_is_whole() -> None:
    data = bytearray()
    for byte in VERSION[:-1]:
        data.append(byte)
        assert take_answer(data) is None
    data.append(VERSION[-1])
    answer = take_answer(data)
    assert answer and answer.ok and answer.json() == {"firecracker_version": "1.12.1"}
    assert data == b""


def test_only_one_answer_is_taken() -> None:
    data = bytearray(NOTHING + VERSION)
    assert take_answer(data) == Answer(204, b"")
    assert data == VERSION


@pytest.mark.parametrize(
    "answer",
    [
        b"HELLO\r\n\r\n",
        b"HTTP/2 200 \r\n\r\n",
        b"HTTP/1.1 2000 \r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 \r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 \r\nA: b\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n" % (BODY_MAX_BYTES + 1),
        b"HTTP/1.1 200 \r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 \r\nContent-Length: 5\r\n\r\nhello",
        b"x" * HEAD_MAX_BYTES,
    ],
)
def test_nonsense(answer: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        take_answer(bytearray(answer))


def test_a_fault_is_bounded_and_printable() -> None:
    assert Answer(400, b'{"fault_message":"no\\u0000such\\nthing"}').fault() == "no such thing"
    assert Answer(400, json.dumps({"fault_message": "x" * 9000}).encode()).fault() == "x" * 2000
    assert Answer(400, b"plain\xff").fault() == "plain\ufffd"
    assert Answer(400, b"").fault() == "no reason was given"
    assert Answer(400, b"[" * BODY_MAX_BYTES).fault()


@pytest.mark.parametrize("body", [b"[1]", b"nope", b"[" * BODY_MAX_BYTES, b"\xff\xff"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        Answer(200, body).json()


def test_requests() -> None:
    assert encode("GET", "/version", None) == b"GET /version HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
    assert encode("PATCH", "/vm", {"state": "Paused"}).endswith(b'Content-Length: 18\r\n\r\n{"state":"Paused"}')
    with pytest.raises(ValueError, match="are allowed"):
        encode("PUT", "/cpu-config", {"x": "y" * REQUEST_MAX_BYTES})
