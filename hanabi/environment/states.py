"""The lifecycle of an execution environment, as a table. Everything that may change the state goes through `advance`.

    starting --> initializing --> idle <--> busy
                                   |  \\
                                   |   frozen --> busy (thawed)
    busy --> resetting --> idle, or frozen later --> initializing: after a timeout or a crash
    any of them -----------------> stopping --> gone
"""

from enum import Enum


class EnvironmentState(Enum):
    STARTING = "starting"  # the sandbox is being made, or waits in a pool
    INITIALIZING = "initializing"  # the function's init runs, at one full vCPU
    IDLE = "idle"  # waiting for work, running
    FROZEN = "frozen"  # waiting for work, stopped
    BUSY = "busy"  # one invocation is inside
    RESETTING = "resetting"  # its processes are being ended; the sandbox stays
    STOPPING = "stopping"
    GONE = "gone"


TRANSITIONS: dict[EnvironmentState, frozenset[EnvironmentState]] = {
    EnvironmentState.STARTING: frozenset({EnvironmentState.INITIALIZING, EnvironmentState.STOPPING}),
    EnvironmentState.INITIALIZING: frozenset({EnvironmentState.IDLE, EnvironmentState.STOPPING}),
    EnvironmentState.IDLE: frozenset(
        {
            EnvironmentState.BUSY,
            EnvironmentState.FROZEN,
            EnvironmentState.INITIALIZING,
            EnvironmentState.RESETTING,
            EnvironmentState.STOPPING,
        }
    ),
    EnvironmentState.FROZEN: frozenset({EnvironmentState.BUSY, EnvironmentState.INITIALIZING, EnvironmentState.STOPPING}),
    EnvironmentState.BUSY: frozenset({EnvironmentState.IDLE, EnvironmentState.RESETTING, EnvironmentState.STOPPING}),
    EnvironmentState.RESETTING: frozenset({EnvironmentState.IDLE, EnvironmentState.STOPPING}),
    EnvironmentState.STOPPING: frozenset({EnvironmentState.GONE}),
    EnvironmentState.GONE: frozenset(),
}


class IllegalTransition(AssertionError):
    """A defect of ours: no input can cause it."""


def advance(now: EnvironmentState, to: EnvironmentState) -> EnvironmentState:
    """The new state, if the table allows it."""
    if to not in TRANSITIONS[now]:
        raise IllegalTransition(f"{now.value} -> {to.value}")
    return to
