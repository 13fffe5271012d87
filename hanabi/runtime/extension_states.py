"""The life of one extension, as a table. docs/architecture.md has the diagram; the values are the names that AWS shows."""

from enum import auto

from hanabi.base.state_table import StateTable, TableEnum


class ExtensionState(TableEnum):
    STARTED = "Started"  # an external one: its process is being started, and it has not registered
    REGISTERED = "Registered"  # its init runs
    READY = "Ready"  # it has asked for the next event
    RUNNING = "Running"  # it has one
    INIT_ERROR = "InitError"  # it has said that its init failed, and is expected to exit
    EXIT_ERROR = "ExitError"  # it has said that it cannot go on, and is expected to exit
    LAUNCH_ERROR = "LaunchError"  # its process could not be started
    EXITED = "Exited"


class ExtensionEvent(TableEnum):
    REGISTER = auto()
    NEXT = auto()
    TAKE = auto()  # the event that it waited for
    INIT_ERROR = auto()
    EXIT_ERROR = auto()
    LAUNCH_ERROR = auto()
    EXIT = auto()


EXTENSIONS: StateTable[ExtensionState, ExtensionEvent] = StateTable(
    "extension",
    ExtensionState.STARTED,
    {
        ExtensionState.STARTED: {
            ExtensionEvent.REGISTER: ExtensionState.REGISTERED,
            ExtensionEvent.LAUNCH_ERROR: ExtensionState.LAUNCH_ERROR,
            ExtensionEvent.EXIT: ExtensionState.EXITED,
        },
        ExtensionState.REGISTERED: {
            ExtensionEvent.NEXT: ExtensionState.READY,
            ExtensionEvent.INIT_ERROR: ExtensionState.INIT_ERROR,
            ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
            ExtensionEvent.EXIT: ExtensionState.EXITED,
        },
        ExtensionState.READY: {
            ExtensionEvent.NEXT: ExtensionState.READY,  # asked again: the connection of its last question has gone
            ExtensionEvent.TAKE: ExtensionState.RUNNING,
            ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
            ExtensionEvent.EXIT: ExtensionState.EXITED,
        },
        ExtensionState.RUNNING: {
            ExtensionEvent.NEXT: ExtensionState.READY,
            ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
            ExtensionEvent.EXIT: ExtensionState.EXITED,
        },
        ExtensionState.INIT_ERROR: {
            ExtensionEvent.INIT_ERROR: ExtensionState.INIT_ERROR,  # only the first one counts
            ExtensionEvent.EXIT: ExtensionState.EXITED,
        },
        ExtensionState.EXIT_ERROR: {
            ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
            ExtensionEvent.EXIT: ExtensionState.EXITED,
        },
        ExtensionState.LAUNCH_ERROR: {},
        ExtensionState.EXITED: {},
    },
)
