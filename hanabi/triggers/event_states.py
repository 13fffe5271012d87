"""The life of an asynchronous event, as a table. Nothing about it is decided elsewhere.

    queued   accepted and on disk, waiting for its turn
    running  handed to the invoker
    waiting  on disk with a time before which it is not tried again
    done     the function ran and returned
    dropped  given up, with a reason

After a crash what was running is queued again, by nature: only `queued` and `waiting` exist on disk, as rows with a due time.
"""

from enum import Enum


class EventState(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    DROPPED = "dropped"


class EventTrigger(Enum):
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


TRANSITIONS: dict[tuple[EventState, EventTrigger], EventState] = {
    (EventState.QUEUED, EventTrigger.TAKEN): EventState.RUNNING,
    (EventState.WAITING, EventTrigger.DUE): EventState.QUEUED,
    (EventState.RUNNING, EventTrigger.SUCCEEDED): EventState.DONE,
    (EventState.RUNNING, EventTrigger.THROTTLED): EventState.WAITING,
    (EventState.RUNNING, EventTrigger.BROKE): EventState.WAITING,
    (EventState.RUNNING, EventTrigger.FAILED): EventState.WAITING,
    (EventState.RUNNING, EventTrigger.EXHAUSTED): EventState.DROPPED,
    (EventState.RUNNING, EventTrigger.EXPIRED): EventState.DROPPED,
    (EventState.RUNNING, EventTrigger.GONE): EventState.DROPPED,
    (EventState.RUNNING, EventTrigger.REFUSED): EventState.DROPPED,
    (EventState.RUNNING, EventTrigger.STOPPED): EventState.QUEUED,
}

ON_DISK = frozenset({EventState.QUEUED, EventState.WAITING})
ENDS = frozenset({EventState.DONE, EventState.DROPPED})


class IllegalTransition(Exception):
    """A bug of ours: what happened cannot happen in that state."""


def advance(state: EventState, trigger: EventTrigger) -> EventState:
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise IllegalTransition(f"{state.value}: {trigger.value}") from None
