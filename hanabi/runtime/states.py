"""The states of a runtime towards its host, as a table: the same for the runtime channel and for the Runtime API.

starting --next--> ready --invoke--> invoking --answer--> answered --next--> ready
    |   |
    |   restore next --> dormant --wake--> restoring --next--> ready       (SnapStart: a snapshot is taken while dormant)
    init error --> failed <--violation-- any                               any --close--> closed
"""

from enum import Enum, auto


class State(Enum):
    STARTING = auto()  # its init runs
    DORMANT = auto()  # its init is over, its hooks before the snapshot too: it waits to be restored
    RESTORING = auto()  # its hooks after the restore run
    READY = auto()  # it has asked for the next invocation
    INVOKING = auto()  # it has one
    ANSWERED = auto()  # it has answered, and may still work, or end: it gets nothing before it asks for the next
    FAILED = auto()  # its init failed, or it said what it must not: nothing it says counts any more
    CLOSED = auto()


class Event(Enum):
    NEXT = auto()
    RESTORE_NEXT = auto()
    WAKE = auto()
    INVOKE = auto()
    ANSWER = auto()
    INIT_ERROR = auto()
    VIOLATION = auto()
    CLOSE = auto()


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.STARTING: {
        Event.NEXT: State.READY,
        Event.RESTORE_NEXT: State.DORMANT,
        Event.INIT_ERROR: State.FAILED,
        Event.VIOLATION: State.FAILED,
        Event.CLOSE: State.CLOSED,
    },
    State.DORMANT: {
        Event.RESTORE_NEXT: State.DORMANT,  # asked again: the answer to its last question was lost
        Event.NEXT: State.DORMANT,  # it knows nothing of snapshots, and waits for its first invocation
        Event.WAKE: State.RESTORING,
        Event.VIOLATION: State.FAILED,
        Event.CLOSE: State.CLOSED,
    },
    State.RESTORING: {
        Event.RESTORE_NEXT: State.RESTORING,  # it asks late: it may go on at once
        Event.NEXT: State.READY,
        Event.INIT_ERROR: State.FAILED,
        Event.VIOLATION: State.FAILED,
        Event.CLOSE: State.CLOSED,
    },
    State.READY: {Event.INVOKE: State.INVOKING, Event.NEXT: State.READY, Event.VIOLATION: State.FAILED, Event.CLOSE: State.CLOSED},
    State.INVOKING: {Event.ANSWER: State.ANSWERED, Event.VIOLATION: State.FAILED, Event.CLOSE: State.CLOSED},
    State.ANSWERED: {Event.NEXT: State.READY, Event.VIOLATION: State.FAILED, Event.CLOSE: State.CLOSED},
    State.FAILED: {Event.CLOSE: State.CLOSED},
    State.CLOSED: {Event.CLOSE: State.CLOSED},
}
