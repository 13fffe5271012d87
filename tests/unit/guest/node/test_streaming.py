"""Handlers of the Node.js bootstrap that write their response: frames as they write, their errors, their backpressure."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.guest.bootstrap import Guest
from tests.unit.guest.node.test_bootstrap import NODE, load, start

pytestmark = pytest.mark.skipif(NODE is None, reason="no node on PATH")

HTTP = b"application/vnd.awslambda.http-integration-response"
PLAIN = b"application/octet-stream"
HEAD = """
const { pipeline } = require("node:stream/promises"), { Readable } = require("node:stream"), { once } = require("node:events");
const pause = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms));
"""
Frames = list[tuple[bytes, bytes]]


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    with start(tmp_path / "libraries") as guest:
        yield guest


def streaming(guest: Guest, root: Path, body: str, options: str = "{}") -> Guest:
    handler = f"async (event, stream, context) => {{ {body} }}"
    return load(guest, root, f"{HEAD}exports.handler = awslambda.streamifyResponse({handler}, {options});")


def whole(frames: Frames) -> bytes:
    return b"".join(body for kind, body in frames if kind == b"c")


def kinds(frames: Frames) -> bytes:
    return b"".join(kind for kind, _ in frames)


def test_each_write_is_sent_at_once(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.write('ü'); await pause(); stream.write(Buffer.from('two')); await pause(); stream.end('3');")
    for _ in range(2):
        assert guest.stream() == [(b"s", PLAIN), (b"c", "ü".encode()), (b"c", b"two"), (b"c", b"3"), (b"d", b""), (b"r", b"")]


def test_objects_are_written_as_json(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.write({ a: 1 }); stream.write(new Uint8Array([50])); stream.end();")
    assert whole(guest.stream()) == b'{"a":1}2'


def test_a_content_type_of_its_own(guest: Guest, tmp_path: Path) -> None:
    late = "try { stream.setContentType('late'); } catch (error) { stream.end(error.name); }"
    streaming(guest, tmp_path, f"stream.setContentType('text/html'); stream.write('x'); {late}")
    frames = guest.stream()
    assert frames[0] == (b"s", b"text/html") and whole(frames) == b"xRuntime.InvalidStreamingOperation"


def test_a_prelude_goes_with_the_first_write_alone(guest: Guest, tmp_path: Path) -> None:
    prelude = "{ statusCode: 201, cookies: ['a=b'] }"
    body = f"stream = awslambda.HttpResponseStream.from(stream, {prelude}); if (event) stream.write(event); stream.end();"
    streaming(guest, tmp_path, body)
    frames = guest.stream("x")
    assert frames[0] == (b"s", HTTP) and whole(frames) == b'{"statusCode":201,"cookies":["a=b"]}' + bytes(8) + b"x"
    assert guest.stream() == [(b"s", HTTP), (b"d", b""), (b"r", b"")]  # as in Lambda


def test_an_empty_answer(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.end();")
    assert guest.stream() == [(b"s", PLAIN), (b"d", b""), (b"r", b"")]


def test_a_pipeline(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "await pipeline(Readable.from(['one', 'two', Buffer.alloc(300000)]), stream);")
    frames = guest.stream()
    assert whole(frames) == b"onetwo" + bytes(300_000) and kinds(frames)[-2:] == b"dr"
    assert max(len(body) for _, body in frames) <= 65536


def test_errors_before_and_after_the_first_write(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "if (event) { stream.write('one'); await pause(); } throw new RangeError(context.awsRequestId);")
    early, late = guest.stream(0), guest.stream(1)
    assert kinds(early) == b"fr" and kinds(late) == b"scfr"
    assert json.loads(early[0][1])["errorType"] == json.loads(late[2][1])["errorType"] == "RangeError"
    assert json.loads(late[2][1])["errorMessage"] == "id-1"
    assert len([line for line in guest.take_log() if "Invoke Error" in line]) == 2


def test_a_pipeline_whose_source_fails(guest: Guest, tmp_path: Path) -> None:
    source = "Readable.from((async function* () { yield 'one'; await pause(); throw new RangeError('source'); })())"
    streaming(guest, tmp_path, f"await pipeline({source}, stream);")
    for _ in range(2):
        frames = guest.stream()
        assert kinds(frames) == b"scfr" and json.loads(frames[2][1])["errorMessage"] == "source"


def test_a_stream_that_is_destroyed(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.write('one'); stream.destroy(event ? new RangeError('mine') : undefined);")
    assert [json.loads(guest.stream(event)[-2][1])["errorType"] for event in (1, 0)] == ["RangeError", "Error"]


def test_an_error_that_nobody_catches(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.write('one'); setTimeout(() => { throw new RangeError('late'); }, 5); await pause(20000);")
    frames = guest.stream()
    assert kinds(frames) == b"scx" and json.loads(frames[2][1])["errorType"] == "RangeError"


def test_one_that_forgets_to_end(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.write('one');")
    frames = guest.stream()
    assert kinds(frames) == b"scfr" and json.loads(frames[2][1])["errorMessage"] == "Response stream is not finished."


def test_it_ends_after_the_handler(guest: Guest, tmp_path: Path) -> None:
    streaming(guest, tmp_path, "stream.write('one'); setTimeout(() => stream.end('two'), 20); return event;")
    assert whole(guest.stream("ignored")) == b"onetwo"
    assert any("Streaming handlers ignore return values." in line for line in guest.take_log())


def test_what_is_written_too_late_goes_nowhere(guest: Guest, tmp_path: Path) -> None:
    body = "if (globalThis.last) last.write('late'); globalThis.last = stream; stream.write('one');"
    streaming(guest, tmp_path, f"{body} if (!event) throw new Error('no'); stream.end();")
    assert kinds(guest.stream(0)) == b"scfr"
    assert whole(guest.stream(1)) == b"one"


def test_a_handler_that_is_not_async(guest: Guest, tmp_path: Path) -> None:
    load(guest, tmp_path, "exports.handler = awslambda.streamifyResponse((event, stream) => { stream.end('x'); });")
    frames = guest.stream()
    assert frames[-2][0] == b"f" and json.loads(frames[-2][1])["errorMessage"] == "Streaming does not support non-async handlers."


def test_no_more_is_made_than_the_host_takes(guest: Guest, tmp_path: Path) -> None:
    body = "for (let n = 0; n < 64; n++) { console.log(n); if (!stream.write(Buffer.alloc(65536, n))) await once(stream, 'drain'); }"
    streaming(guest, tmp_path, f"{body} stream.end();")
    guest.send_invocation(b"null")
    assert guest.receive() == (b"s", PLAIN) and guest.receive() == (b"c", bytes(65536))
    made = 0
    while (now := len([line for line in guest.drain().splitlines() if line])) != made:
        made = now
        time.sleep(0.2)
    assert 0 < made < 32
    frames = [guest.receive()]
    while frames[-1][0] != b"r":
        frames.append(guest.receive())
    assert bytes(65536) + whole(frames) == b"".join(bytes([n]) * 65536 for n in range(64))


@pytest.mark.parametrize(("options", "mark"), [("{ highWaterMark: 1234 }", b"1234"), ("{ highWaterMark: '9' }", b"")])
def test_a_high_water_mark(guest: Guest, tmp_path: Path, options: str, mark: bytes) -> None:
    streaming(guest, tmp_path, "stream.end(String(stream.writableHighWaterMark));", options)
    found = whole(guest.stream())
    assert found == mark if mark else found in (b"16384", b"65536")
