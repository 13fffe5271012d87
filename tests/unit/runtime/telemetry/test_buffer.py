"""Batches: when one is due, what it holds, what is dropped."""

from dataclasses import replace

from hanabi.runtime.telemetry.buffer import HELD_BATCHES, EventBuffer
from tests.unit.runtime.telemetry.test_subscription import read

ROOM = 1 << 30


def test_a_batch_is_due_when_its_first_event_has_waited() -> None:
    buffer = EventBuffer(read(buffering={"timeoutMs": 500}))
    assert (buffer.due, buffer.take()) == (None, [])
    buffer.add(b"1", 10.0, ROOM)
    buffer.add(b"2", 10.4, ROOM)
    assert (buffer.due, len(buffer), buffer.size_bytes) == (10.5, 2, 2)
    assert buffer.take() == [b"1", b"2"]
    assert (buffer.due, buffer.size_bytes) == (None, 0)


def test_a_full_batch_is_due_at_once() -> None:
    buffer = EventBuffer(replace(read(), max_items=3))
    for number in range(5):
        buffer.add(b"%d" % number, 1.0, ROOM)
    assert buffer.due == 1.0
    assert [buffer.take(), buffer.take()] == [[b"0", b"1", b"2"], [b"3", b"4"]]
    buffer = EventBuffer(replace(read(), max_bytes=10))
    buffer.add(b"x" * 6, 1.0, ROOM)
    buffer.add(b"y" * 6, 2.0, ROOM)
    assert buffer.due == 1.0
    assert buffer.take() == [b"x" * 6]
    buffer.add(b"z" * 14, 3.0, ROOM)
    assert (buffer.take(), buffer.take()) == ([b"y" * 6], [b"z" * 14])  # one alone may be larger


def test_what_is_too_much_is_dropped_and_counted() -> None:
    buffer = EventBuffer(replace(read(), max_items=3, max_bytes=100))
    for number in range(HELD_BATCHES * 3 + 2):
        buffer.add(b"%d" % number, 1.0, ROOM)
    buffer.take()
    buffer.add(b"x" * 300, 1.0, ROOM)
    buffer.add(b"xy", 1.0, 1)  # no room beside the other subscribers
    assert buffer.take_dropped() == (4, 304)
    assert buffer.take_dropped() == (0, 0)
