"""The table of an event's life is complete."""

import pytest

from hanabi.triggers.event_states import ENDS, ON_DISK, TRANSITIONS, EventState, EventTrigger, IllegalTransition, advance
from hanabi.triggers.retry_policy import RetryPolicy


def test_every_state_is_reached_and_only_ends_are_not_left() -> None:
    assert {EventState.QUEUED, *TRANSITIONS.values()} == set(EventState)
    assert {state for state, _ in TRANSITIONS} == set(EventState) - ENDS
    assert {trigger for _, trigger in TRANSITIONS} == set(EventTrigger)
    assert not ON_DISK & ENDS


def test_what_is_not_in_the_table_is_a_bug() -> None:
    for state in EventState:
        for trigger in EventTrigger:
            if (state, trigger) not in TRANSITIONS:
                with pytest.raises(IllegalTransition):
                    advance(state, trigger)


def test_delays() -> None:
    policy = RetryPolicy(error_delays=(60, 120))
    assert [policy.after_error(attempt) for attempt in (1, 2, 3, 4)] == [60, 120, None, None]
    assert [policy.after_refusal(n) for n in (1, 2, 3, 9, 10, 5000)] == [1, 2, 4, 256, 300, 300]
