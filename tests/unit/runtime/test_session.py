"""The table: what a runtime may say when, in every order."""

import json
import random

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.quotas import RESPONSE_PAYLOAD_BYTES
from hanabi.runtime.session import TOO_LARGE, InvalidTransition, RuntimeSession, error_type_of
from hanabi.runtime.states import TRANSITIONS, RuntimeEvent, RuntimeState
from tests.unit.runtime.host import Story, invocation


def ready() -> Story:
    story = Story()
    story.session.deliver = lambda _: None
    story.session.next()
    assert story.so_far() == [("ready",)]
    return story


def test_an_invocation_ends_when_the_runtime_asks_for_the_next() -> None:
    story = ready()
    story.session.invoke(invocation())
    story.session.answer(b"1")
    assert story.so_far() == []
    assert story.session.held_answer() == (b"1", None)
    story.session.next()
    assert story.so_far() == [("result", b"1"), ("ready",)]
    assert story.session.held_answer() is None


def test_an_answer_may_be_handed_out_before_the_runtime_is_ready_and_is_handed_out_once() -> None:
    story = ready()
    story.session.invoke(invocation())
    story.session.fail(b'{"errorType":"E"}')
    story.session.release_answer()
    assert story.so_far() == [("error", b'{"errorType":"E"}', "E")] and story.session.held_answer() is None
    with pytest.raises(InvalidTransition):
        story.session.invoke(invocation())  # it is not ready
    story.session.start()
    assert story.so_far() == [("ready",)]
    story.session.invoke(invocation())
    with pytest.raises(InvalidTransition):
        story.session.start()


def test_what_was_lost_was_never_answered() -> None:
    story = ready()
    story.session.undelivered = lambda exit: True
    assert not story.session.lost(None)
    story.session.invoke(invocation())
    assert story.session.lost(Exit("runtime", 0, None))
    story.session.undelivered = lambda exit: False
    assert not story.session.lost(None)
    story.session.undelivered = lambda exit: True
    story.session.answer(b"1")
    story.session.release_answer()
    assert not story.session.lost(None)


def test_errors_carry_their_type() -> None:
    story = ready()
    for payload, given, expected in [
        (b'{"errorMessage":"m","errorType":"ValueError"}', None, "ValueError"),
        (b'{"errorType" : "A.B"}', "Runtime.Mine", "Runtime.Mine"),
        (b"not json", None, "Runtime.Unknown"),
        (b'{"errorType":"a\x07b\tc"}', None, "abc"),
        (b'{"errorType":"' + b"x" * 300 + b'"}', None, "Runtime.Unknown"),
        (b"", None, "Runtime.Unknown"),
    ]:
        story.session.invoke(invocation())
        story.session.fail(payload, given)
        story.session.next()
        assert story.so_far() == [("error", payload, expected), ("ready",)]


@pytest.mark.parametrize("way", ["answer", "fail"])
def test_an_answer_over_the_limit_becomes_lambdas_error(way: str) -> None:
    story = ready()
    for size in (RESPONSE_PAYLOAD_BYTES, RESPONSE_PAYLOAD_BYTES + 1):
        story.session.invoke(invocation())
        getattr(story.session, way)(bytes(size))
        story.session.next()
    (first, _, second, _) = story.so_far()
    assert len(first[1]) == RESPONSE_PAYLOAD_BYTES  # type: ignore[arg-type]
    assert second[0] == "error" and second[2] == TOO_LARGE
    message = "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
    assert json.loads(second[1]) == {"errorMessage": message, "errorType": TOO_LARGE}  # type: ignore[arg-type]


def test_a_failed_init_and_a_violation_are_told_once_and_end_it() -> None:
    for fail in (lambda s: s.fail_init(b"{}"), lambda s: s.violate("no")):
        story = Story()
        fail(story.session)
        assert len(story.so_far()) == 1
        story.session.violate("again")
        for say in (story.session.next, lambda s=story.session: s.answer(b""), lambda s=story.session: s.fail_init(b"")):
            with pytest.raises(InvalidTransition):
                say()
        assert story.so_far() == []


def test_nothing_is_told_after_the_close() -> None:
    story = ready()
    story.session.invoke(invocation())
    story.session.close()
    story.session.close()
    story.session.violate("late")
    with pytest.raises(InvalidTransition):
        story.session.answer(b"late")
    assert story.so_far() == []


def is_streaming(session: RuntimeSession) -> bool:
    return session.state is RuntimeState.STREAMING


def test_random_orders_never_leave_the_table() -> None:
    dice = random.Random(11)
    events = {
        RuntimeEvent.NEXT: lambda s: s.next(),
        RuntimeEvent.INVOKE: lambda s: s.invoke(invocation()),
        RuntimeEvent.ANSWER: lambda s: (
            dice.choice([s.answer, s.answer if is_streaming(s) else s.fail])(b"{}"),
            dice.choice([s.release_answer, lambda: None])(),
        ),
        RuntimeEvent.STREAM: lambda s: s.begin_stream("text/plain"),
        RuntimeEvent.CHUNK: lambda s: s.add_chunk(b"x"),
        RuntimeEvent.END: lambda s: dice.choice([s.end_stream, (lambda: s.fail(b"{}")) if is_streaming(s) else s.end_stream])(),
        RuntimeEvent.INIT_ERROR: lambda s: s.fail_init(b"{}"),
        RuntimeEvent.CLOSE: lambda s: s.close(),
    }
    for _ in range(500):
        story = Story()
        story.session.deliver = lambda _: None
        for event in dice.choices(list(events), weights=[5, 5, 5, 2, 3, 3, 1, 1], k=30):
            before = story.session.state
            expected = TRANSITIONS[before].get(event)
            if expected is None:
                with pytest.raises(InvalidTransition):
                    events[event](story.session)
                assert story.session.state is before
            else:
                events[event](story.session)
                assert story.session.state is expected
                assert story.session.held_answer() is None or story.session.state is not RuntimeState.READY


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == set(RuntimeState)
    reachable = {to for row in TRANSITIONS.values() for to in row.values()}
    assert reachable | {RuntimeState.STARTING} == set(RuntimeState)


def test_looking_for_an_error_type_takes_no_time_on_hostile_bytes() -> None:
    assert error_type_of(b'"errorType":"' + b"\\" * 6_000_000) == "Runtime.Unknown"
    assert error_type_of(b'"errorType"' * 500_000) == "Runtime.Unknown"
