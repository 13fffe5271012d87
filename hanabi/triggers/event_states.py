"""The life of an asynchronous event, as a table. Nothing about it is decided elsewhere.

    queued   accepted and on disk, waiting for its turn
    running  handed to the invoker
    waiting  on disk with a time before which it is not tried again
    done     the function ran and returned
    dropped  given up, with a reason

After a crash what was running is queued again, by nature: only `queued` and `waiting` exist on disk, as rows with a due time.
"""

from enum import Enum


class State(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    DROPPED = "dropped"


class Happening(Enum):
    TAKEN = "taken from the queue"
    SUCCEEDED = "the function returned"
    THROTTLED = "throttled"
    BROKE = "the service could not run it"
    FAILED = "the function failed, and may be tried again"
    EXHAUSTED = "the function failed for the last time"
    EXPIRED = "it grew too old"
    GONE = "the function is not there any more"
    REFUSED = "it can never run"
    STOPPED = "the server is stopping"
    DUE = "its time has come"


TRANSITIONS: dict[tuple[State, Happening], State] = {
    (State.QUEUED, Happening.TAKEN): State.RUNNING,
    (State.WAITING, Happening.DUE): State.QUEUED,
    (State.RUNNING, Happening.SUCCEEDED): State.DONE,
    (State.RUNNING, Happening.THROTTLED): State.WAITING,
    (State.RUNNING, Happening.BROKE): State.WAITING,
    (State.RUNNING, Happening.FAILED): State.WAITING,
    (State.RUNNING, Happening.EXHAUSTED): State.DROPPED,
    (State.RUNNING, Happening.EXPIRED): State.DROPPED,
    (State.RUNNING, Happening.GONE): State.DROPPED,
    (State.RUNNING, Happening.REFUSED): State.DROPPED,
    (State.RUNNING, Happening.STOPPED): State.QUEUED,
}

ON_DISK = frozenset({State.QUEUED, State.WAITING})
ENDS = frozenset({State.DONE, State.DROPPED})


class IllegalTransition(Exception):
    """A bug of ours: what happened cannot happen in that state."""


def advance(state: State, happening: Happening) -> State:
    try:
        return TRANSITIONS[state, happening]
    except KeyError:
        raise IllegalTransition(f"{state.value}: {happening.value}") from None
