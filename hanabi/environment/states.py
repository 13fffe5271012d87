"""The state of an execution environment. Everything that decides what may happen in it next is here, and nothing else.

Three kinds of machines, each a table: the environment's phase, every process in its sandbox, and the sandbox itself. What follows from
all three (`usable`, `needs_init`, `may_reset`) is derived here, so that no other module keeps flags.
"""

from collections.abc import Iterable
from enum import auto

from hanabi.base.state_table import StateTable, TableEnum


class Phase(TableEnum):
    """The phase of an environment. `hanabi ps` shows the values."""

    STARTING = "starting"  # the sandbox has no function: it is being started, or is pooled
    INITIALIZING = "initializing"  # the function's init runs, at one full vCPU at least, or its restore
    LEASED = "leased"  # a caller holds it and is about to invoke it or give it back
    IDLE = "idle"  # not held: it waits for an invocation
    BUSY = "busy"  # one invocation is inside
    FINISHING = "finishing"  # it has answered, and its runtime has not asked for the next invocation yet
    RESETTING = "resetting"  # its processes are being ended; the sandbox stays
    DISCARDED = "discarded"  # it is about to end and is not used any more
    RUNTIME_SHUTDOWN = "runtime shutdown"  # the runtime has been told to end; only where there are extensions
    EXTENSIONS_SHUTDOWN = "extensions shutdown"  # then the extensions
    STOPPING = "stopping"  # its processes are killed, and all that it has is released
    GONE = "gone"


class PhaseEvent(TableEnum):
    ASSIGN = auto()  # it becomes a function's
    INITIALIZED = auto()
    INITIALIZE_AGAIN = auto()  # the init of one that was reset
    INVOKE = auto()
    HAND_OVER = auto()  # to one who waits for it
    ANSWERED_EARLY = auto()  # the invocation is over, and the runtime is not ready
    RELEASED = auto()  # no longer held, and ready for the next invocation
    RESET = auto()
    DISCARD = auto()
    SHUT_DOWN = auto()
    RUNTIME_ENDED = auto()  # by itself, or its time is over
    STOP = auto()
    STOPPED = auto()


_END = {PhaseEvent.DISCARD: Phase.DISCARDED, PhaseEvent.STOP: Phase.STOPPING}

PHASES: StateTable[Phase, PhaseEvent] = StateTable(
    "environment",
    Phase.STARTING,
    {
        Phase.STARTING: {PhaseEvent.ASSIGN: Phase.INITIALIZING, **_END},
        Phase.INITIALIZING: {PhaseEvent.INITIALIZED: Phase.LEASED, **_END},
        Phase.LEASED: {
            PhaseEvent.INVOKE: Phase.BUSY,
            PhaseEvent.INITIALIZE_AGAIN: Phase.INITIALIZING,
            PhaseEvent.HAND_OVER: Phase.LEASED,
            PhaseEvent.RELEASED: Phase.IDLE,
            **_END,
        },
        Phase.IDLE: {
            PhaseEvent.INVOKE: Phase.BUSY,
            PhaseEvent.INITIALIZE_AGAIN: Phase.INITIALIZING,
            PhaseEvent.RESET: Phase.RESETTING,
            **_END,
        },
        Phase.BUSY: {
            PhaseEvent.RELEASED: Phase.IDLE,
            PhaseEvent.HAND_OVER: Phase.LEASED,
            PhaseEvent.ANSWERED_EARLY: Phase.FINISHING,
            PhaseEvent.RESET: Phase.RESETTING,
            **_END,
        },
        Phase.FINISHING: {
            PhaseEvent.RELEASED: Phase.IDLE,
            PhaseEvent.HAND_OVER: Phase.LEASED,
            PhaseEvent.RESET: Phase.RESETTING,
            **_END,
        },
        Phase.RESETTING: {PhaseEvent.RELEASED: Phase.IDLE, PhaseEvent.HAND_OVER: Phase.LEASED, **_END},
        Phase.DISCARDED: {PhaseEvent.SHUT_DOWN: Phase.RUNTIME_SHUTDOWN, **_END},
        Phase.RUNTIME_SHUTDOWN: {PhaseEvent.RUNTIME_ENDED: Phase.EXTENSIONS_SHUTDOWN, PhaseEvent.STOP: Phase.STOPPING},
        Phase.EXTENSIONS_SHUTDOWN: {PhaseEvent.STOP: Phase.STOPPING},
        Phase.STOPPING: {PhaseEvent.STOPPED: Phase.GONE},
    },
)


class ProcessState(TableEnum):
    """The state of one process: the runtime or an extension."""

    ABSENT = auto()
    LOADED = auto()  # a bundled bootstrap that waits for its function
    RUNNING = auto()
    HUNG_UP = auto()  # it closed its channel while nothing was under way: nothing can be sent to it
    BROKEN = auto()  # it broke the protocol: neither it nor what it left behind can be trusted
    EXITED = auto()


class ProcessEvent(TableEnum):
    LOAD = auto()
    START = auto()
    HANG_UP = auto()
    BREAK = auto()
    EXIT = auto()
    KILL = auto()  # the host has ended it, and knows that it is gone


PROCESSES: StateTable[ProcessState, ProcessEvent] = StateTable(
    "process",
    ProcessState.ABSENT,
    {
        ProcessState.ABSENT: {
            ProcessEvent.LOAD: ProcessState.LOADED,
            ProcessEvent.START: ProcessState.RUNNING,
            ProcessEvent.HANG_UP: ProcessState.ABSENT,
            ProcessEvent.EXIT: ProcessState.ABSENT,  # of one that was killed
            ProcessEvent.KILL: ProcessState.ABSENT,
        },
        ProcessState.LOADED: {
            ProcessEvent.START: ProcessState.RUNNING,
            ProcessEvent.HANG_UP: ProcessState.HUNG_UP,
            ProcessEvent.BREAK: ProcessState.BROKEN,
            ProcessEvent.EXIT: ProcessState.EXITED,
            ProcessEvent.KILL: ProcessState.ABSENT,
        },
        ProcessState.RUNNING: {
            ProcessEvent.HANG_UP: ProcessState.HUNG_UP,
            ProcessEvent.BREAK: ProcessState.BROKEN,
            ProcessEvent.EXIT: ProcessState.EXITED,
            ProcessEvent.KILL: ProcessState.ABSENT,
        },
        ProcessState.HUNG_UP: {
            ProcessEvent.HANG_UP: ProcessState.HUNG_UP,
            ProcessEvent.BREAK: ProcessState.BROKEN,
            ProcessEvent.EXIT: ProcessState.EXITED,
            ProcessEvent.KILL: ProcessState.ABSENT,
        },
        ProcessState.BROKEN: {
            ProcessEvent.HANG_UP: ProcessState.BROKEN,
            ProcessEvent.BREAK: ProcessState.BROKEN,
            ProcessEvent.EXIT: ProcessState.BROKEN,
            ProcessEvent.KILL: ProcessState.ABSENT,
        },
        ProcessState.EXITED: {
            ProcessEvent.HANG_UP: ProcessState.EXITED,
            ProcessEvent.BREAK: ProcessState.BROKEN,
            ProcessEvent.EXIT: ProcessState.EXITED,
            ProcessEvent.KILL: ProcessState.ABSENT,
        },
    },
)


class SandboxState(TableEnum):
    RUNNING = auto()
    FROZEN = auto()
    STUCK = auto()  # it could not be frozen or thawed
    LOST = auto()  # it has ended, with all in it


class SandboxEvent(TableEnum):
    FREEZE = auto()
    THAW = auto()
    FAIL = auto()  # at freezing or thawing
    LOSE = auto()


SANDBOXES: StateTable[SandboxState, SandboxEvent] = StateTable(
    "sandbox of an environment",
    SandboxState.RUNNING,
    {
        SandboxState.RUNNING: {
            SandboxEvent.FREEZE: SandboxState.FROZEN,
            SandboxEvent.FAIL: SandboxState.STUCK,
            SandboxEvent.LOSE: SandboxState.LOST,
        },
        SandboxState.FROZEN: {
            SandboxEvent.THAW: SandboxState.RUNNING,
            SandboxEvent.FAIL: SandboxState.STUCK,
            SandboxEvent.LOSE: SandboxState.LOST,
        },
        SandboxState.STUCK: {SandboxEvent.FAIL: SandboxState.STUCK, SandboxEvent.LOSE: SandboxState.LOST},
        SandboxState.LOST: {SandboxEvent.FAIL: SandboxState.LOST, SandboxEvent.LOSE: SandboxState.LOST},
    },
)

RUNTIME = "runtime"  # its role; every other one is an extension's
ENDED = frozenset({Phase.DISCARDED, Phase.RUNTIME_SHUTDOWN, Phase.EXTENSIONS_SHUTDOWN, Phase.STOPPING, Phase.GONE})
_SHOWN = {Phase.FINISHING: Phase.BUSY, Phase.LEASED: Phase.IDLE}
_ALIVE = frozenset({ProcessState.ABSENT, ProcessState.LOADED, ProcessState.RUNNING})
_INTACT = frozenset({SandboxState.RUNNING, SandboxState.FROZEN})


class EnvironmentState:
    """The whole state of one environment. Raises `IllegalTransition` for what no table allows."""

    __slots__ = ("extensions", "phase", "runtime", "sandbox", "usable")

    def __init__(self) -> None:
        self.phase = PHASES.initial
        self.runtime = PROCESSES.initial
        self.extensions: dict[str, ProcessState] = {}  # by role: of external ones
        self.sandbox = SANDBOXES.initial
        self.usable = True  # derived: it can still be used

    def advance(self, event: PhaseEvent) -> None:
        self.phase = PHASES.advance(self.phase, event)
        if self.phase in ENDED:
            self.usable = False

    def advance_process(self, role: str, event: ProcessEvent) -> None:
        if role == RUNTIME:
            self.runtime = PROCESSES.advance(self.runtime, event)
            self._derive()
        else:
            self.extensions[role] = PROCESSES.advance(self.extensions.get(role, PROCESSES.initial), event)
            self._derive()

    def advance_sandbox(self, event: SandboxEvent) -> None:
        self.sandbox = SANDBOXES.advance(self.sandbox, event)
        self._derive()

    def kill_processes(self) -> None:
        """Note that the host has killed all processes."""
        for role in (RUNTIME, *self.extensions):
            self.advance_process(role, ProcessEvent.KILL)

    @property
    def ended(self) -> bool:
        return self.phase in ENDED

    @property
    def frozen(self) -> bool:
        return self.sandbox is SandboxState.FROZEN

    @property
    def needs_init(self) -> bool:
        """Whether the next invocation runs the init again, after a reset."""
        return self.phase in (Phase.IDLE, Phase.LEASED) and self.runtime is ProcessState.ABSENT

    @property
    def may_reset(self) -> bool:
        """Whether its processes may be killed and its sandbox reused. Not after it died frozen or broke the protocol."""
        return (
            self.phase in (Phase.BUSY, Phase.FINISHING, Phase.IDLE)
            and self.runtime in (ProcessState.RUNNING, ProcessState.EXITED)
            and self.sandbox is SandboxState.RUNNING
        )

    def living(self, roles: Iterable[str] | None = None) -> list[str]:
        """The roles whose processes have not ended, as far as known."""
        states = {RUNTIME: self.runtime, **self.extensions}
        ended = (ProcessState.ABSENT, ProcessState.EXITED)
        return [role for role, state in states.items() if state not in ended and (roles is None or role in roles)]

    @property
    def shown(self) -> str:
        """The phase as shown to users. One that is not ready yet is shown as busy."""
        if self.phase is Phase.IDLE and self.frozen:
            return "frozen"
        return str((Phase.STOPPING if self.ended else _SHOWN.get(self.phase, self.phase)).value)

    def _derive(self) -> None:
        processes = self.runtime in _ALIVE and all(state in _ALIVE for state in self.extensions.values())
        self.usable = self.phase not in ENDED and processes and self.sandbox in _INTACT
