"""The runtime's states, as a table: one for the runtime channel and the Runtime API.

With SnapStart a snapshot is taken while the runtime awaits its restore. docs/architecture.md has the diagram.
"""

from enum import auto

from hanabi.base.state_table import StateTable, TableEnum


class RuntimeState(TableEnum):
    STARTING = auto()  # its init runs
    AWAITING_RESTORE = auto()  # its init is over, its hooks before the snapshot too: it waits to be restored
    RESTORING = auto()  # its hooks after the restore run
    READY = auto()  # it has asked for the next invocation
    INVOKING = auto()  # it has one
    STREAMING = auto()  # it answers it piece by piece
    ANSWERED = auto()  # it has answered, and may still work, or end: it gets nothing before it asks for the next
    FAILED = auto()  # its init failed, or it violated the protocol: later messages are ignored
    CLOSED = auto()


class RuntimeEvent(TableEnum):
    NEXT = auto()
    RESTORE_NEXT = auto()
    RESTORE = auto()
    INVOKE = auto()
    ANSWER = auto()  # or an error
    STREAM = auto()  # an answer begins that comes in pieces
    CHUNK = auto()
    END = auto()  # of such an answer, also by an error
    INIT_ERROR = auto()
    VIOLATION = auto()
    CLOSE = auto()


TABLE: StateTable[RuntimeState, RuntimeEvent] = StateTable(
    "runtime",
    RuntimeState.STARTING,
    {
        RuntimeState.STARTING: {
            RuntimeEvent.NEXT: RuntimeState.READY,
            RuntimeEvent.RESTORE_NEXT: RuntimeState.AWAITING_RESTORE,
            RuntimeEvent.INIT_ERROR: RuntimeState.FAILED,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.AWAITING_RESTORE: {
            RuntimeEvent.RESTORE_NEXT: RuntimeState.AWAITING_RESTORE,  # asked again: the answer to its last question was lost
            RuntimeEvent.NEXT: RuntimeState.AWAITING_RESTORE,  # it knows nothing of snapshots, and waits for its first invocation
            RuntimeEvent.RESTORE: RuntimeState.RESTORING,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.RESTORING: {
            RuntimeEvent.RESTORE_NEXT: RuntimeState.RESTORING,  # it asks late: it may go on at once
            RuntimeEvent.NEXT: RuntimeState.READY,
            RuntimeEvent.INIT_ERROR: RuntimeState.FAILED,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.READY: {
            RuntimeEvent.INVOKE: RuntimeState.INVOKING,
            RuntimeEvent.NEXT: RuntimeState.READY,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.INVOKING: {
            RuntimeEvent.STREAM: RuntimeState.STREAMING,
            RuntimeEvent.ANSWER: RuntimeState.ANSWERED,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.STREAMING: {
            RuntimeEvent.CHUNK: RuntimeState.STREAMING,
            RuntimeEvent.END: RuntimeState.ANSWERED,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.ANSWERED: {
            RuntimeEvent.NEXT: RuntimeState.READY,
            RuntimeEvent.VIOLATION: RuntimeState.FAILED,
            RuntimeEvent.CLOSE: RuntimeState.CLOSED,
        },
        RuntimeState.FAILED: {RuntimeEvent.CLOSE: RuntimeState.CLOSED},
        RuntimeState.CLOSED: {RuntimeEvent.CLOSE: RuntimeState.CLOSED},
    },
)
TRANSITIONS = TABLE.transitions
