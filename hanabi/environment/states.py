"""The lifecycle of an execution environment, as a table. Everything that may change the state goes through `advance`.

    starting --> initializing --> idle <--> busy
                                   |  \\
                                   |   frozen --> busy (thawed)
    busy --> resetting --> idle, or frozen later --> initializing: after a timeout or a crash
    any of them -----------------> stopping --> gone
"""

from enum import Enum


class State(Enum):
    STARTING = "starting"  # the sandbox is being made, or waits in a pool
    INITIALIZING = "initializing"  # the function's init runs, at one full vCPU
    IDLE = "idle"  # waiting for work, running
    FROZEN = "frozen"  # waiting for work, stopped
    BUSY = "busy"  # one invocation is inside
    RESETTING = "resetting"  # its processes are being ended; the sandbox stays
    STOPPING = "stopping"
    GONE = "gone"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.STARTING: frozenset({State.INITIALIZING, State.STOPPING}),
    State.INITIALIZING: frozenset({State.IDLE, State.STOPPING}),
    State.IDLE: frozenset({State.BUSY, State.FROZEN, State.INITIALIZING, State.RESETTING, State.STOPPING}),
    State.FROZEN: frozenset({State.BUSY, State.INITIALIZING, State.STOPPING}),
    State.BUSY: frozenset({State.IDLE, State.RESETTING, State.STOPPING}),
    State.RESETTING: frozenset({State.IDLE, State.STOPPING}),
    State.STOPPING: frozenset({State.GONE}),
    State.GONE: frozenset(),
}


class IllegalTransition(AssertionError):
    """A defect of ours: no input can cause it."""


def advance(now: State, to: State) -> State:
    """The new state, if the table allows it."""
    if to not in TRANSITIONS[now]:
        raise IllegalTransition(f"{now.value} -> {to.value}")
    return to
