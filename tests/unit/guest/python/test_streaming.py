"""Handlers of the Python bootstrap that are generators: frames as they yield, their errors, their backpressure."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.guest.bootstrap import Guest
from tests.unit.guest.python.test_bootstrap import load, start

HTTP = b"application/vnd.awslambda.http-integration-response"
PLAIN = b"application/octet-stream"


@pytest.fixture
def guest() -> Iterator[Guest]:
    with start() as guest:
        yield guest


@pytest.fixture(params=["def", "async def"])
def define(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_each_value_is_a_piece(guest: Guest, tmp_path: Path, define: str) -> None:
    load(guest, tmp_path, f"{define} handler(event, context):\n    yield 'ü'\n    yield b'two'\n    yield bytearray(b'3')\n    yield [4]\n")
    pieces = [(b"c", each) for each in ("ü".encode(), b"two", b"3", b"[4]")]
    for _ in range(2):
        assert guest.stream() == [(b"s", PLAIN), *pieces, (b"d", b""), (b"r", b"")]


def test_a_head_comes_first(guest: Guest, tmp_path: Path, define: str) -> None:
    load(guest, tmp_path, f"{define} handler(event, context):\n    yield {{'statusCode': 201}}\n    yield {{'statusCode': 1}}\n")
    head = b'{"statusCode": 201}' + bytes(8)
    assert guest.stream() == [(b"s", HTTP), (b"c", head), (b"c", b'{"statusCode": 1}'), (b"d", b""), (b"r", b"")]


def test_one_that_yields_nothing(guest: Guest, tmp_path: Path, define: str) -> None:
    load(guest, tmp_path, f"{define} handler(event, context):\n    if event:\n        yield b''\n")
    for event in (0, 1):
        assert guest.stream(event) == [(b"s", PLAIN), (b"d", b""), (b"r", b"")]


def test_errors_before_and_after_the_first_piece(guest: Guest, tmp_path: Path, define: str) -> None:
    body = "    if event:\n        yield 'one'\n    raise ValueError('no')\n    yield\n"
    load(guest, tmp_path, f"{define} handler(event, context):\n{body}")
    early, late = guest.stream(0), guest.stream(1)
    assert [kind for kind, _ in early] == [b"f", b"r"] and [kind for kind, _ in late] == [b"s", b"c", b"f", b"r"]
    assert json.loads(early[0][1])["errorType"] == json.loads(late[2][1])["errorType"] == "ValueError"
    assert "app.py" in json.loads(late[2][1])["stackTrace"][-1]


def test_a_value_that_json_cannot_say(guest: Guest, tmp_path: Path, define: str) -> None:
    load(guest, tmp_path, f"{define} handler(event, context):\n    yield 'one'\n    yield object()\n")
    *_, (kind, error), _ = guest.stream()
    assert kind == b"f" and json.loads(error)["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize("source", ["def handler(event, context):\n    return (c for c in 'abc')\n",
                                    "def inner():\n    yield 'abc'\nasync def handler(event, context):\n    return inner()\n"])  # fmt: skip
def test_a_generator_that_is_returned(guest: Guest, tmp_path: Path, source: str) -> None:
    load(guest, tmp_path, source)
    assert b"".join(body for kind, body in guest.stream() if kind == b"c") == b"abc"


def test_large_values_are_cut_and_wait_for_the_host(guest: Guest, tmp_path: Path, define: str) -> None:
    body = "    for n in range(8):\n        print(n)\n        yield bytes([n]) * (1 << 20)\n"
    load(guest, tmp_path, f"{define} handler(event, context):\n{body}")
    guest.send_invocation(b"null")
    assert guest.receive() == (b"s", PLAIN)
    first = guest.receive()
    assert first == (b"c", bytes(1 << 16))
    assert guest.take_log() == ["0"]  # the second MiB is not made before the first is taken
    rest = b""
    while (frame := guest.receive())[0] == b"c":
        rest += frame[1]
    assert frame[0] == b"d" and bytes(1 << 16) + rest == b"".join(bytes([n]) * (1 << 20) for n in range(8))


def test_tasks_run_on_while_the_host_waits(guest: Guest, tmp_path: Path) -> None:
    source = """
import asyncio
async def tick():
    for n in range(3):
        await asyncio.sleep(0.01)
    print("ticked")
async def handler(event, context):
    task = asyncio.create_task(tick())
    yield bytes(4 << 20)
    yield str(task.done())
"""
    load(guest, tmp_path, source)
    guest.send_invocation(b"null")
    while "ticked" not in "".join(guest.take_log()):
        pass
    assert b"True" in [guest.receive()[1] for _ in range(67)]
