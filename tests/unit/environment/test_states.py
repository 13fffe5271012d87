"""Every pair of states: what the table allows happens, all else is a defect."""

import itertools

import pytest

from hanabi.environment.states import TRANSITIONS, EnvironmentState, IllegalTransition, advance

ALLOWED = {
    "starting": "initializing stopping",
    "initializing": "idle stopping",
    "idle": "busy frozen initializing resetting stopping",
    "frozen": "busy initializing stopping",
    "busy": "idle resetting stopping",
    "resetting": "idle stopping",
    "stopping": "gone",
    "gone": "",
}


@pytest.mark.parametrize("now, to", list(itertools.product(EnvironmentState, EnvironmentState)), ids=lambda state: state.value)
def test_every_transition(now: EnvironmentState, to: EnvironmentState) -> None:
    if to.value in ALLOWED[now.value].split():
        assert advance(now, to) is to
    else:
        with pytest.raises(IllegalTransition, match=f"{now.value} -> {to.value}"):
            advance(now, to)


def test_every_state_leads_to_the_end() -> None:
    for state in EnvironmentState:
        seen, todo = set(), {state}
        while todo:
            seen |= todo
            todo = {after for each in todo for after in TRANSITIONS[each]} - seen
        assert EnvironmentState.GONE in seen
