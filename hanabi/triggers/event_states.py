"""The states of an asynchronous event, as a table. All of them are decided here.

    queued   accepted and on disk, waiting for its turn
    running  handed to the invoker
    waiting  on disk with a time before which it is not tried again
    done     the function ran and returned
    dropped  given up, with a reason

After a crash a running event is queued again: only `queued` and `waiting` exist on disk, as rows with a due time.
"""

from hanabi.base.state_table import StateTable, TableEnum


class EventState(TableEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    DROPPED = "dropped"


class EventTrigger(TableEnum):
    TAKEN = "taken from the queue"
    SUCCEEDED = "the function returned"
    THROTTLED = "throttled"
    BROKE = "the service could not run it"
    FAILED = "the function failed, and may be tried again"
    EXHAUSTED = "the function failed for the last time"
    EXPIRED = "it grew too old"
    UNRESERVED = "its function has no concurrency"
    RECURSED = "its function was reached in a recursive loop"
    GONE = "the function is not there any more"
    REFUSED = "it can never run"
    STOPPED = "the server is stopping"
    DUE = "its time has come"


TABLE: StateTable[EventState, EventTrigger] = StateTable(
    "asynchronous event",
    EventState.QUEUED,
    {
        EventState.QUEUED: {EventTrigger.TAKEN: EventState.RUNNING},
        EventState.WAITING: {EventTrigger.DUE: EventState.QUEUED},
        EventState.RUNNING: {
            EventTrigger.SUCCEEDED: EventState.DONE,
            EventTrigger.THROTTLED: EventState.WAITING,
            EventTrigger.BROKE: EventState.WAITING,
            EventTrigger.FAILED: EventState.WAITING,
            EventTrigger.EXHAUSTED: EventState.DROPPED,
            EventTrigger.EXPIRED: EventState.DROPPED,
            EventTrigger.UNRESERVED: EventState.DROPPED,
            EventTrigger.RECURSED: EventState.DROPPED,
            EventTrigger.GONE: EventState.DROPPED,
            EventTrigger.REFUSED: EventState.DROPPED,
            EventTrigger.STOPPED: EventState.QUEUED,
        },
    },
)
advance = TABLE.advance

ON_DISK = frozenset({EventState.QUEUED, EventState.WAITING})
ENDS = TABLE.ends
