"""The tables of an environment: what each allows, and what follows from all of them together."""

import itertools
import random

import pytest

from hanabi.base.state_table import IllegalTransition, StateTable
from hanabi.environment.states import (
    ENDED,
    PHASES,
    PROCESSES,
    RUNTIME,
    SANDBOXES,
    EnvironmentState,
    Phase,
    PhaseEvent,
    ProcessEvent,
    ProcessState,
    SandboxEvent,
    SandboxState,
)

ALLOWED = {
    "STARTING": "INITIALIZING DISCARDED STOPPING",
    "INITIALIZING": "LEASED DISCARDED STOPPING",
    "LEASED": "BUSY INITIALIZING LEASED IDLE DISCARDED STOPPING",
    "IDLE": "BUSY INITIALIZING RESETTING DISCARDED STOPPING",
    "BUSY": "IDLE LEASED FINISHING RESETTING DISCARDED STOPPING",
    "FINISHING": "IDLE LEASED RESETTING DISCARDED STOPPING",
    "RESETTING": "IDLE LEASED DISCARDED STOPPING",
    "DISCARDED": "RUNTIME_SHUTDOWN DISCARDED STOPPING",
    "RUNTIME_SHUTDOWN": "EXTENSIONS_SHUTDOWN STOPPING",
    "EXTENSIONS_SHUTDOWN": "STOPPING",
    "STOPPING": "GONE",
    "GONE": "",
}
TABLES = [PHASES, PROCESSES, SANDBOXES]


def test_every_phase_leads_where_it_should() -> None:
    assert {phase.name: {after.name for after in PHASES.transitions[phase].values()} for phase in Phase} == {
        phase: set(after.split()) for phase, after in ALLOWED.items()
    }


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_every_state_can_be_reached_and_every_other_event_is_a_defect(table: "StateTable[Phase, PhaseEvent]") -> None:
    assert table.reachable == set(table.transitions)
    events = {event for after in table.transitions.values() for event in after}
    for state, event in itertools.product(table.transitions, events):
        if not table.allows(state, event):
            with pytest.raises(IllegalTransition, match=f"{event.name} while {state.name}"):
                table.advance(state, event)


def test_every_phase_leads_to_the_end() -> None:
    for phase in Phase:
        seen: set[Phase] = set()
        todo = {phase}
        while todo:
            seen |= todo
            todo = {after for each in todo for after in PHASES.transitions[each].values()} - seen
        assert Phase.GONE in seen


def test_the_shutdown_is_runtime_first_then_extensions() -> None:
    state = EnvironmentState()
    state.advance(PhaseEvent.DISCARD)
    for event, phase in (
        (PhaseEvent.SHUT_DOWN, Phase.RUNTIME_SHUTDOWN),
        (PhaseEvent.RUNTIME_ENDED, Phase.EXTENSIONS_SHUTDOWN),
        (PhaseEvent.STOP, Phase.STOPPING),
        (PhaseEvent.STOPPED, Phase.GONE),
    ):
        state.advance(event)
        assert state.phase is phase and state.ended and not state.usable


def busy() -> EnvironmentState:
    state = EnvironmentState()
    state.advance(PhaseEvent.ASSIGN)
    state.advance_process(RUNTIME, ProcessEvent.START)
    state.advance(PhaseEvent.INITIALIZED)
    state.advance(PhaseEvent.INVOKE)
    return state


@pytest.mark.parametrize(
    "events, usable, may_reset",
    [
        ([], True, True),
        ([ProcessEvent.EXIT], False, True),
        ([ProcessEvent.HANG_UP], False, False),
        ([ProcessEvent.HANG_UP, ProcessEvent.EXIT], False, True),
        ([ProcessEvent.BREAK], False, False),
        ([ProcessEvent.BREAK, ProcessEvent.EXIT], False, False),
        ([ProcessEvent.EXIT, ProcessEvent.BREAK], False, False),
        ([SandboxEvent.LOSE], False, False),
        ([SandboxEvent.FAIL], False, False),
        ([PhaseEvent.DISCARD], False, False),
    ],
)
def test_what_may_go_on_and_what_may_be_reset(
    events: list[ProcessEvent | SandboxEvent | PhaseEvent], usable: bool, may_reset: bool
) -> None:
    state = busy()
    for event in events:
        if isinstance(event, ProcessEvent):
            state.advance_process(RUNTIME, event)
        elif isinstance(event, SandboxEvent):
            state.advance_sandbox(event)
        else:
            state.advance(event)
    assert (state.usable, state.may_reset) == (usable, may_reset)


def test_one_that_was_reset_needs_an_init_and_one_that_dies_frozen_is_not_reset() -> None:
    state = busy()
    state.advance_process("extension", ProcessEvent.START)
    state.advance_process(RUNTIME, ProcessEvent.EXIT)
    state.advance(PhaseEvent.RESET)
    state.kill_processes()
    assert state.living() == [] and state.usable and not state.needs_init
    state.advance(PhaseEvent.RELEASED)
    assert state.needs_init and state.shown == "idle"
    state.advance_sandbox(SandboxEvent.FREEZE)
    assert state.shown == "frozen" and state.usable and state.frozen
    state.advance(PhaseEvent.INITIALIZE_AGAIN)
    state.advance_process(RUNTIME, ProcessEvent.START)
    state.advance(PhaseEvent.INITIALIZED)
    state.advance_process(RUNTIME, ProcessEvent.EXIT)
    assert not state.may_reset


def test_the_end_of_an_extension_makes_it_unusable_until_a_reset() -> None:
    state = busy()
    for event in (ProcessEvent.START, ProcessEvent.EXIT):
        state.advance_process("extension", event)
    assert not state.usable and state.may_reset and state.living() == [RUNTIME]
    state.advance(PhaseEvent.RESET)
    state.kill_processes()
    assert state.usable


def test_what_is_shown_are_words_of_lambda() -> None:
    shown = set()
    for phase, sandbox in itertools.product(set(Phase) - {Phase.GONE}, SandboxState):
        state = EnvironmentState()
        state.phase, state.sandbox = phase, sandbox
        shown.add(state.shown)
    assert shown == {"starting", "initializing", "idle", "frozen", "busy", "resetting", "stopping"}


def test_what_is_derived_is_so_after_every_event() -> None:
    dice = random.Random(7)
    for _ in range(300):
        state = EnvironmentState()
        for _ in range(40):
            event = dice.choice([*PhaseEvent, *ProcessEvent, *SandboxEvent])
            try:
                if isinstance(event, PhaseEvent):
                    state.advance(event)
                elif isinstance(event, ProcessEvent):
                    state.advance_process(RUNTIME, event)
                else:
                    state.advance_sandbox(event)
            except IllegalTransition:
                pass
            alive = state.runtime in (ProcessState.ABSENT, ProcessState.LOADED, ProcessState.RUNNING)
            intact = state.sandbox in (SandboxState.RUNNING, SandboxState.FROZEN)
            assert state.usable is (alive and intact and state.phase not in ENDED)
