"""One execution environment: a sandbox, the runtime in it, and the function it belongs to once it has one.

It never changes its function. One invocation at a time is inside; between two it may be frozen. What may happen next is decided by its
state alone (`states`); its parts do the work: `startup`, `run`, `runtime_process`, `log`, `credentials`, `freezer`, `memory`, `shutdown`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from hanabi.base.tasks import Tasks
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Invocation, OnEnd, Outcome
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.credentials import EnvironmentCredentials
from hanabi.environment.freezer import Freezer
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.environment.log import EnvironmentLog
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import NO_REASON, error_outcome, stopped_outcome, timeout_outcome
from hanabi.environment.run import Run
from hanabi.environment.runtime_process import RuntimeProcess
from hanabi.environment.shared import SharedServices
from hanabi.environment.shutdown import ExtensionSession, Shutdown
from hanabi.environment.startup import FirstReport, Startup
from hanabi.environment.states import EnvironmentState, Phase, PhaseEvent, ProcessState, SandboxState
from hanabi.errors import HanabiError, SandboxError
from hanabi.ledger.report import start_line
from hanabi.runtime.states import RuntimeState

RESET_LIMIT_S = 5.0
log = logging.getLogger(__name__)


class Released(Protocol):
    """Whoever owns environments takes one back."""

    def __call__(self, environment: "Environment", *, reusable: bool) -> None: ...


class Environment:
    """Made around a sandbox whose agent runs; then `load` (optional), `initialize`, `invoke` ..., `destroy`. A `contracts.fleet.Lease`."""

    def __init__(self, sandbox: Sandbox, image: RuntimeImage, shared: SharedServices) -> None:
        clock = shared.clock
        self.id = sandbox.id
        self.sandbox = sandbox
        self.image = image
        self.version: FunctionVersion | None = None
        self.state = EnvironmentState()
        self.created = self.idle_since = clock.monotonic()
        self.invocations = 0
        self.origin = "pool miss"  # for the log: see `starts`
        self.provisioned = False  # initialised ahead for a version with provisioned concurrency, and kept
        self.snap_start = False  # to be a snapshot, or the clone of one
        self.trimmed = False  # since it was last used
        self.extensions: dict[str, ExtensionSession] = {}  # by role
        self.on_gone: Callable[[Environment, bool], None] = lambda _, __: None  # (this, whether a reset may help)
        self.on_released: Released = lambda _, *, reusable: None
        self.log = EnvironmentLog(sandbox.logs, shared)
        self._clock = clock
        self._credentials = EnvironmentCredentials(sandbox, shared, self.state)
        self._memory = MemoryUse(sandbox)
        self._run = Run(clock, self._on_timeout)
        self._freezer = Freezer(sandbox, clock, self.state, shared.freeze_after_s, self._on_runtime_gone)
        self._shutdown = Shutdown(sandbox, clock, self.state)
        self._runtime = RuntimeProcess(
            sandbox,
            image,
            shared,
            self.state,
            self._credentials,
            self._memory,
            self._run,
            on_ready=self._on_ready,
            on_gone=self._on_runtime_gone,
            on_late_exit=self._shutdown.on_exit,
        )
        self._startup = Startup(sandbox, image, shared, self.state, self.log, self._credentials, self._memory, self._run, self._runtime)
        self._first: FirstReport | None = None  # nothing was invoked since its init
        self._invocation: Invocation | None = None  # under way
        self._on_end: OnEnd | None = None  # of the invocation
        self._on_finished: Callable[[], None] = lambda: None
        self._tasks = Tasks("environment")
        sandbox.on_exit = self._runtime.on_exit

    # --- its beginning ------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the bundled bootstrap before any function is known, unless the sandbox came with it. Raises `SandboxError`."""
        await self._runtime.load()

    async def initialize(self, version: FunctionVersion, limit_s: float, phase: str = "init") -> Outcome:
        """Become a function's, and run its init. On success it is idle. `phase` "invoke": the init is part of the first invocation."""
        self.version = version
        outcome = await self._startup.initialize(version, limit_s, provisioned=self.provisioned, snap_start=self.snap_start)
        if outcome.status == "success":
            ahead = self.provisioned or self.snap_start
            if ahead:
                self._startup.log_report(outcome, phase)
            spent_us = outcome.duration_us if phase == "invoke" else 0
            self._first = FirstReport(None if ahead or phase == "invoke" else outcome.duration_us, None, spent_us)
            self.idle_since = self._clock.monotonic()
        else:
            self._startup.log_report(outcome, phase)
            await self._startup.complete(outcome, version)
        return outcome

    async def restore(self, version: FunctionVersion, limit_s: float, spent_ms: float) -> Outcome:
        """Be a function whose snapshot the sandbox is a clone of: run its hooks. `spent_ms`: what restoring the sandbox took."""
        self.version, self.snap_start = version, True
        outcome = await self._startup.restore(version, limit_s)
        if outcome.status == "success":
            self._first = FirstReport(None, (int(spent_ms * 1000) + outcome.duration_us, outcome.duration_us))
            self.idle_since = self._clock.monotonic()
        else:
            self._startup.log_report(outcome, "init")
            await self._startup.complete(outcome, version)
        return outcome

    async def snapshot(self, directory: Path) -> None:
        """Write the sandbox of a function that is dormant, or ready, into a directory. The environment is of no other use afterwards."""
        await self.sandbox.snapshot(directory)

    async def hibernate(self, directory: Path) -> HibernatedEnvironment:
        """Write it to disk while nobody uses it; then it is to be destroyed, and `resume` makes another one of what is returned."""
        assert self.version is not None
        await self.sandbox.snapshot(directory)
        return HibernatedEnvironment(
            id=self.id,
            version=self.version,
            directory=directory,
            stream=self.log.stream,
            credentials=self._credentials.hand_over(),
            token=self._credentials.token,
            snap_start=self.snap_start,
            invocations=self.invocations,
            created=self.created,
            since=self.idle_since,
        )

    async def resume(self, hibernated: HibernatedEnvironment, limit_s: float) -> None:
        """Be the environment that was hibernated; the sandbox is a clone of it. Raises `SandboxError` when its runtime does not go on."""
        self.version, self.snap_start = hibernated.version, hibernated.snap_start
        self.created, self.invocations = hibernated.created, hibernated.invocations
        await self._startup.resume(hibernated, limit_s)

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """Hand an invocation to the runtime; `on_end` gets its end. One that dies before its runtime has it ends it as undelivered."""
        state = self.state
        if state.sandbox is SandboxState.FROZEN:
            self._freezer.thaw()
        if state.runtime is ProcessState.ABSENT and state.usable:
            self._tasks.spawn(self._initialize_and_invoke(invocation, on_end), "init within an invocation")
            return
        version = invocation.route.version
        limit_s: float = version.timeout_s
        first = self._first
        if first is not None and first.spent_us:
            limit_s = max(0.001, limit_s - first.spent_us / 1e6)
        now_ms = int(self._clock.time() * 1000)
        invocation.deadline_ms = now_ms + int(limit_s * 1000)
        if first is None or not invocation.tail:  # what the init printed is shown with the first invocation
            self.log.keep_tail(invocation.tail)
        self.log.start(now_ms, start_line(invocation.request_id, version.version))
        self.invocations += 1
        self._invocation, self._on_end = invocation, on_end
        self._run.begin(invocation.request_id, self._clock.monotonic(), limit_s, self._on_run_end)
        if state.usable:
            state.advance(PhaseEvent.INVOKE)
            assert self._runtime.session is not None
            self._runtime.session.invoke(invocation)
        else:
            outcome = self._runtime.exit_outcome()
            outcome.undelivered = True
            self._run.end(outcome)

    async def _initialize_and_invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """One that was reset: the init is part of the invocation, as after one that failed; the environment has its /tmp still."""
        version = invocation.route.version
        try:
            outcome = await self._startup.initialize_again(version, version.timeout_s, invocation.request_id)
            if outcome.status == "success":
                self._first = FirstReport(spent_us=outcome.duration_us)
                self.invoke(invocation, on_end)
                return
            self._startup.log_report(outcome, "invoke")
            await self._startup.complete(outcome, version)
        except (HanabiError, OSError) as error:
            log.warning("environment %s does not come up after its reset: %s", self.id, error)
            outcome = error_outcome("Runtime.ExitError", NO_REASON, invocation.request_id)
            outcome.undelivered = True  # the function has seen nothing of it
            self._describe(outcome)
        on_end(outcome)

    def _on_run_end(self, outcome: Outcome) -> None:
        """What was printed until now belongs to the invocation that has ended."""
        if left := self.log.drain():
            self._tasks.spawn(self._read_printed(outcome, left), "log of an invocation")
        else:
            self._complete(outcome)

    async def _read_printed(self, outcome: Outcome, left: int) -> None:
        try:
            await self.log.read_more(left)
        finally:
            self._complete(outcome)

    def _complete(self, outcome: Outcome) -> None:
        invocation, on_end, first = self._invocation, self._on_end, self._first
        assert invocation is not None and on_end is not None
        self._invocation = self._on_end = self._first = None
        version = invocation.route.version
        timeout_us = version.timeout_s * 1_000_000
        if first is not None:
            outcome.init_us, outcome.restore_us = first.init_us, first.restore_us
            outcome.duration_us += first.spent_us
        if outcome.duration_us > timeout_us:  # a timer that was late bought nobody any time
            outcome.duration_us = timeout_us
        if self.state.phase is Phase.BUSY:
            if outcome.reusable:
                self._memory.ran(outcome.duration_us)
            else:
                self._memory.read()
        if outcome.undelivered:
            outcome.started = not self.log.retract(start_line(invocation.request_id, version.version))
        else:
            outcome.started = True
        outcome.events = self.log.take_events()
        if invocation.tail:
            outcome.tail = self.log.written_tail
        self._describe(outcome)
        on_end(outcome)

    def _describe(self, outcome: Outcome) -> None:
        assert self.version is not None
        outcome.environment = self.id
        outcome.stream = self.log.stream
        outcome.max_memory_mb = self._memory.reported_mb(self.version.memory_mb)

    @property
    def usable(self) -> bool:
        """Whether it may go on as it is; else it ends as soon as it is not busy any more."""
        return self.state.usable

    @property
    def ready(self) -> bool:
        """Whether its runtime has asked for the next invocation: until then it may be about to end. One that was reset needs none."""
        session = self._runtime.session
        return (session is not None and session.state is RuntimeState.READY) or self.state.runtime is ProcessState.ABSENT

    def release(self, *, reusable: bool) -> None:
        """Whoever had it has no use for it any more."""
        self.on_released(self, reusable=reusable)

    def finish(self, on_finished: Callable[[], None]) -> None:
        """The invocation is answered: call back when the runtime asks for the next. It has what is left of the time for that."""
        self.state.advance(PhaseEvent.ANSWERED_EARLY)
        self._on_finished = on_finished
        self._run.resume_deadline()

    def mark_idle(self) -> None:
        """The invocation is over and recorded: wait for the next one."""
        self.state.advance(PhaseEvent.RELEASED)
        self.idle_since = self._clock.monotonic()
        self.trimmed = False

    def arm_freeze(self) -> None:
        """Freeze when it stays idle for a while."""
        self._freezer.arm(self.idle_since)

    # --- what happens to it ---------------------------------------------------------------------------------------------

    def _on_ready(self) -> None:
        if self.state.phase is Phase.INITIALIZING:
            self._run.end(Outcome(b"", "success"))
        elif self.state.phase is Phase.FINISHING:
            self._run.clear_deadline()
            self._on_finished()

    def _on_timeout(self) -> None:
        if self.state.phase is Phase.FINISHING:
            self.on_gone(self, False)
            return
        version, invocation = self.version, self._invocation
        limit_s = self._run.limit_s if version is None or invocation is None else version.timeout_s
        self._run.end(timeout_outcome(limit_s, self._run.request_id))

    def _on_runtime_gone(self) -> None:
        """Its runtime, or its sandbox, has ended, or cannot be used any more."""
        if self.state.ended:
            return
        unattended = self.state.phase in (Phase.STARTING, Phase.IDLE, Phase.FINISHING)  # else whoever has it is told by the outcome
        self._runtime.end_run()
        if unattended:
            self.on_gone(self, self.state.sandbox is not SandboxState.LOST)

    # --- its end --------------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """The server stops: end what somebody waits for. The init of one that is kept, or becomes a snapshot, is its owner's business."""
        ahead = self.provisioned or self.snap_start
        if self.state.phase is Phase.BUSY or (self.state.phase is Phase.INITIALIZING and not ahead):
            self._run.end(stopped_outcome(self._run.request_id))

    async def reset(self) -> bool:
        """After a timeout or a crash: end all processes, keep the sandbox and /tmp; the next invocation runs the init. False: of no use."""
        if not self.state.may_reset or self.snap_start or self.provisioned:  # an init had ahead is not had within an invocation
            return False
        self.state.advance(PhaseEvent.RESET)
        try:
            async with asyncio.timeout(RESET_LIMIT_S):
                await self._runtime.reset()
        except (OSError, SandboxError, TimeoutError) as error:
            log.warning("environment %s cannot be reset, and is replaced: %s", self.id, error or "no answer")
            return False
        return self.state.usable

    def discard(self) -> None:
        """It is to end: `destroy` is next, and nobody uses it any more."""
        if not self.state.ended:
            self.state.advance(PhaseEvent.DISCARD)

    async def destroy(self) -> None:
        """End everything. Idempotent."""
        self.discard()
        if self.state.phase is not Phase.DISCARDED:
            return
        self._memory.read()
        self._run.end(error_outcome("Runtime.ExitError", NO_REASON, self._run.request_id))
        self._run.close()
        self._freezer.close()
        self._credentials.revoke()
        if self.extensions:
            await self._shut_down_extensions()
        self.state.advance(PhaseEvent.STOP)
        async with AsyncExitStack() as last_first:  # a step that fails stops no other
            last_first.callback(self.state.advance, PhaseEvent.STOPPED)
            last_first.push_async_callback(self.sandbox.destroy)
            last_first.push_async_callback(self._credentials.close)
            last_first.push_async_callback(self._runtime.close)
            last_first.callback(self._runtime.hang_up)
            last_first.callback(self.log.close)

    async def _shut_down_extensions(self) -> None:
        try:
            if self.state.frozen:
                self._freezer.thaw()
            await self._shutdown.run(self.extensions)
        except Exception:
            log.exception("the extensions of environment %s cannot be told to end", self.id)
