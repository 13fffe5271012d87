"""One execution environment: a sandbox, the runtime in it, and the function it belongs to once it has one.

It never changes its function. It runs one invocation at a time and may be frozen between two. Its state alone (`states`) decides what
may happen next. Its parts do the work: `startup`, `execution`, `run`, `runtime_process`, `log`, `credentials`, `freezer`, `memory`,
`shutdown`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Invocation, OnEnd, Outcome
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.credentials import EnvironmentCredentials
from hanabi.environment.execution import Execution
from hanabi.environment.extension_processes import EnvironmentExtensions
from hanabi.environment.freezer import Freezer
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.environment.log import EnvironmentLog
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import NO_REASON, error_outcome, stopped_outcome, timeout_outcome
from hanabi.environment.run import Run
from hanabi.environment.runtime_process import RuntimeProcess
from hanabi.environment.shared import SharedServices
from hanabi.environment.shutdown import FAILURE, SPINDOWN, TIMEOUT, Shutdown
from hanabi.environment.startup import FirstReport, Startup
from hanabi.environment.states import EnvironmentState, Phase, PhaseEvent, ProcessState, SandboxState
from hanabi.environment.telemetry import EnvironmentTelemetry
from hanabi.errors import SandboxError
from hanabi.runtime.states import RuntimeState

RESET_LIMIT_S = 5.0
log = logging.getLogger(__name__)


class Released(Protocol):
    """The callback by which its owner takes an environment back."""

    def __call__(self, environment: "Environment", *, reusable: bool) -> None: ...


class Environment:
    """An environment, made on a sandbox with a running agent: `load` (optional), `initialize`, `invoke` ..., `destroy`. It is a `Lease`."""

    def __init__(self, sandbox: Sandbox, image: RuntimeImage, shared: SharedServices) -> None:
        clock = shared.clock
        self.id = sandbox.id
        self.sandbox = sandbox
        self.image = image
        self.version: FunctionVersion | None = None
        self.state = EnvironmentState()
        self.created = self.idle_since = clock.monotonic()
        self.origin = "pool miss"  # for the log: see `starts`
        self.provisioned = False  # initialised ahead for a version with provisioned concurrency, and kept
        self.snap_start = False  # to be a snapshot, or the clone of one
        self.trimmed = False  # since it was last used
        self.on_gone: Callable[[Environment, bool], None] = lambda _, __: None  # (this, whether a reset may help)
        self.on_released: Released = lambda _, *, reusable: None
        self.log = EnvironmentLog(sandbox.id, sandbox.logs, shared, EnvironmentTelemetry(sandbox, clock, lambda: self.state.frozen))
        self._clock = clock
        self._credentials = EnvironmentCredentials(sandbox, shared, self.state)
        self._memory = MemoryUse(sandbox)
        self._run = Run(clock, self._on_timeout)
        self._freezer = Freezer(sandbox, clock, self.state, shared.freeze_after_s, self._on_runtime_gone)
        self.extensions = EnvironmentExtensions(sandbox, image, self.state, self.log, self._on_extensions_progress)
        self._shutdown = Shutdown(sandbox, clock, self.state, self.extensions)
        self._end_reason = SPINDOWN  # what extensions are told when it ends now
        self._runtime = RuntimeProcess(
            sandbox,
            image,
            shared,
            self.state,
            self._credentials,
            self._memory,
            self._run,
            self.extensions,
            on_ready=self._on_ready,
            on_gone=self._on_runtime_gone,
            on_late_exit=self._shutdown.on_exit,
        )
        self._startup = Startup(
            sandbox, image, shared, self.state, self.log, self._credentials, self._memory, self._run, self._runtime, self.extensions
        )
        self._execution = Execution(
            self.state, self.log, self._memory, self._run, self._runtime, self._startup, self._freezer, self.extensions, clock
        )
        self._on_finished: Callable[[], None] = lambda: None
        sandbox.on_exit = self._runtime.on_exit

    # --- its beginning ------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the bundled bootstrap before any function is known, unless the sandbox came with it. Raises `SandboxError`."""
        await self._runtime.load()

    async def initialize(self, version: FunctionVersion, limit_s: float, phase: str = "init") -> Outcome:
        """Take a function and run its init. On success it is idle. `phase` "invoke": the init is part of the first invocation."""
        self.version = version
        outcome = await self._startup.initialize(version, limit_s, provisioned=self.provisioned, snap_start=self.snap_start)
        if outcome.status == "success":
            ahead = self.provisioned or self.snap_start
            self._startup.log_report(outcome, phase)
            spent_us = outcome.duration_us if phase == "invoke" else 0
            self._execution.first = FirstReport(None if ahead or phase == "invoke" else outcome.duration_us, None, spent_us)
            self.log.end_init()
            self.idle_since = self._clock.monotonic()
        else:
            self._end_reason = TIMEOUT if outcome.status == "timeout" else FAILURE
            self._startup.log_report(outcome, phase)
            self.log.end_init()
            await self._startup.complete(outcome, version)
        return outcome

    async def copy_process(self, version: FunctionVersion) -> None:
        """Begin as a copy of the process in a version's snapshot, in a sandbox that is none; `restore` is next. Raises `SandboxError`."""
        await self._startup.copy_process(version)

    async def restore(self, version: FunctionVersion, limit_s: float, spent_ms: float) -> Outcome:
        """Take the function whose snapshot the sandbox is a clone of; run its hooks. `spent_ms`: time spent restoring the sandbox."""
        self.version, self.snap_start = version, True
        outcome = await self._startup.restore(version, limit_s)
        if outcome.status == "success":
            self._startup.log_report(outcome, "init", spent_ms)
            self._execution.first = FirstReport(None, (int(spent_ms * 1000) + outcome.duration_us, outcome.duration_us))
            self.idle_since = self._clock.monotonic()
        else:
            self._startup.log_report(outcome, "init")
            await self._startup.complete(outcome, version)
        return outcome

    async def snapshot(self, directory: Path) -> None:
        """Write the sandbox of a dormant or ready function into a directory. Afterwards the environment can only be destroyed."""
        if self.version is not None:
            await self.extensions.stop(self.version)
        await self.sandbox.snapshot(directory)

    async def hibernate(self, directory: Path) -> HibernatedEnvironment:
        """Write it to disk while idle. Then destroy it; `resume` of another environment takes what is returned."""
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
        """Continue a hibernated environment, of which the sandbox is a clone. Raises `SandboxError` when its runtime does not resume."""
        self.version, self.snap_start = hibernated.version, hibernated.snap_start
        self.created, self._execution.count = hibernated.created, hibernated.invocations
        await self._startup.resume(hibernated, limit_s)

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """Run an invocation; `on_end` gets its outcome. One whose runtime dies before reading it ends as undelivered."""
        self._execution.invoke(invocation, on_end)

    @property
    def usable(self) -> bool:
        """Whether it can still be used; if not, it ends as soon as it is not busy."""
        return self.state.usable

    @property
    def invocations(self) -> int:
        """How many invocations it has had."""
        return self._execution.count

    @property
    def ready(self) -> bool:
        """Whether its runtime has asked for the next invocation; until then it may be about to exit. Always true after a reset."""
        session = self._runtime.session
        return (session is not None and session.state is RuntimeState.READY) or self.state.runtime is ProcessState.ABSENT

    def release(self, *, reusable: bool) -> None:
        """Give it back to its owner."""
        self.on_released(self, reusable=reusable)

    def finish(self, on_finished: Callable[[], None]) -> None:
        """Call back when the runtime asks for the next invocation, after an answer. The deadline of the last one still holds."""
        self.state.advance(PhaseEvent.ANSWERED_EARLY)
        self._on_finished = on_finished
        self._run.resume_deadline()

    def hand_over(self) -> None:
        """Pass it to a waiting caller at once."""
        self.state.advance(PhaseEvent.HAND_OVER)
        self.trimmed = False

    def mark_idle(self) -> None:
        """Become idle, after the invocation was recorded."""
        self.state.advance(PhaseEvent.RELEASED)
        self.idle_since = self._clock.monotonic()
        self.trimmed = False

    def arm_freeze(self) -> None:
        """Freeze it if it stays idle for a while, and once its subscribers have their events."""
        if self.log.plain:
            self._freezer.arm(self.idle_since)
        else:
            self.log.telemetry.flush_then(partial(self._freezer.arm, self.idle_since))

    # --- what happens to it ---------------------------------------------------------------------------------------------

    def _on_ready(self) -> None:
        if self.state.phase is Phase.INITIALIZING:
            if self.extensions.note_runtime_ready():
                self._run.end(Outcome(b"", "success"))
        elif self.state.phase is Phase.FINISHING:
            self._run.clear_deadline()
            self._on_finished()

    def _on_extensions_progress(self) -> None:
        if self.state.phase is Phase.BUSY:
            self._execution.on_extensions_progress()
        elif self.state.phase is Phase.INITIALIZING and self.extensions.end_init:
            self._run.end(Outcome(b"", "success"))

    def _on_timeout(self) -> None:
        self._end_reason = TIMEOUT
        if self.state.phase is Phase.FINISHING:
            self.on_gone(self, False)
            return
        self._run.end(timeout_outcome(self._execution.timeout_s or self._run.limit_s, self._run.request_id))

    def _on_runtime_gone(self) -> None:
        """Handle a runtime, extension or sandbox that has ended or is unusable."""
        if self.state.ended:
            return
        self._end_reason = FAILURE
        unattended = self.state.phase in (Phase.STARTING, Phase.IDLE, Phase.FINISHING)  # else its holder gets the outcome
        self._runtime.end_run()
        if unattended:
            self.on_gone(self, self.state.sandbox is not SandboxState.LOST)

    # --- its end --------------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """End what a caller waits for: the server stops. The init of a provisioned one or a snapshot is ended by its owner."""
        ahead = self.provisioned or self.snap_start
        if self.state.phase is Phase.BUSY or (self.state.phase is Phase.INITIALIZING and not ahead):
            self._run.end(stopped_outcome(self._run.request_id))

    async def reset(self) -> bool:
        """End all processes after a timeout or crash, keep the sandbox and /tmp; the next invocation runs the init. False: unusable."""
        if not self.state.may_reset or self.snap_start or self.provisioned:  # a provisioned one's init must not run within an invocation
            return False
        self.state.advance(PhaseEvent.RESET)
        try:
            await self._flush_telemetry()
            await self._shutdown.run(self._end_reason)
            async with asyncio.timeout(RESET_LIMIT_S):
                await self._runtime.reset()
            self.log.forget_subscribers()
            self._end_reason = SPINDOWN
        except (OSError, SandboxError, TimeoutError) as error:
            log.warning("environment %s cannot be reset, and is replaced: %s", self.id, error or "no answer")
            return False
        return self.state.usable

    def discard(self) -> None:
        """Mark it as ending: it is not used any more, and `destroy` is next."""
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
        if self._shutdown.is_due:
            await self._shut_down_extensions()
        self.state.advance(PhaseEvent.STOP)
        async with AsyncExitStack() as last_first:  # a step that fails stops no other
            last_first.callback(self.state.advance, PhaseEvent.STOPPED)
            last_first.push_async_callback(self.sandbox.destroy)
            last_first.push_async_callback(self._credentials.close)
            last_first.push_async_callback(self._runtime.close)
            last_first.push_async_callback(self.log.telemetry.close)
            last_first.callback(self._runtime.hang_up)
            last_first.callback(self.log.close)

    async def _flush_telemetry(self) -> None:
        if self.log.telemetry.listening:
            await self.log.telemetry.flush()

    async def _shut_down_extensions(self) -> None:
        try:
            if self.state.frozen:
                self._freezer.thaw()
            await self._flush_telemetry()
            await self._shutdown.run(self._end_reason, self.state.advance)
        except Exception:
            log.exception("the extensions of environment %s cannot be told to end", self.id)
