"""The table of an event's life is complete."""

from hanabi.triggers.event_states import ENDS, ON_DISK, TABLE, EventState, EventTrigger
from hanabi.triggers.retry_policy import RetryPolicy


def test_every_state_is_reached_and_only_ends_are_not_left() -> None:
    assert TABLE.reachable == set(EventState)
    assert {EventState.DONE, EventState.DROPPED} == ENDS
    assert {trigger for row in TABLE.transitions.values() for trigger in row} == set(EventTrigger)
    assert not ON_DISK & ENDS


def test_delays() -> None:
    policy = RetryPolicy(error_delays=(60, 120))
    assert [policy.after_error(attempt) for attempt in (1, 2, 3, 4)] == [60, 120, None, None]
    assert [policy.after_refusal(n) for n in (1, 2, 3, 9, 10, 5000)] == [1, 2, 4, 256, 300, 300]
