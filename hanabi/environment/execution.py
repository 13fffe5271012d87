"""Invocations in an environment, one at a time: from the START line to the complete outcome. This is the warm path."""

import logging
from dataclasses import replace

from hanabi.base.clock import Clock
from hanabi.base.tasks import Tasks
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.invocation import Invocation, OnEnd, Outcome
from hanabi.environment.extension_processes import EnvironmentExtensions
from hanabi.environment.freezer import Freezer
from hanabi.environment.log import EnvironmentLog
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import NO_REASON, error_outcome
from hanabi.environment.run import Run
from hanabi.environment.runtime_process import RuntimeProcess
from hanabi.environment.startup import FirstReport, Startup
from hanabi.environment.states import EnvironmentState, Phase, PhaseEvent, ProcessState, SandboxState
from hanabi.errors import HanabiError, SandboxError
from hanabi.ledger import platform_events
from hanabi.ledger.platform_events import PlatformEvent
from hanabi.ledger.report import start_line

log = logging.getLogger(__name__)


class Execution:
    """Runs invocations. `first`: what the next one reports of the init before it; None when it is not the first after an init."""

    def __init__(
        self,
        state: EnvironmentState,
        log: EnvironmentLog,
        memory: MemoryUse,
        run: Run,
        runtime: RuntimeProcess,
        startup: Startup,
        freezer: Freezer,
        extensions: EnvironmentExtensions,
        clock: Clock,
    ) -> None:
        self.first: FirstReport | None = None
        self.count = 0
        self._state = state
        self._log = log
        self._memory = memory
        self._run = run
        self._runtime = runtime
        self._startup = startup
        self._freezer = freezer
        self._extensions = extensions
        self._clock = clock
        self._tasks = Tasks("environment")
        self._invocation: Invocation | None = None  # under way
        self._on_end: OnEnd | None = None
        self._held: Outcome | None = None  # the runtime's, while extensions still work on the invocation
        self._runtime_us = 0  # how long the runtime took

    @property
    def timeout_s(self) -> int | None:
        """The timeout of the current invocation, an init within it included."""
        return None if self._invocation is None else self._invocation.route.version.timeout_s

    def invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """Pass an invocation to the runtime, thawed first. An init that is due is part of it."""
        state = self._state
        if state.sandbox is SandboxState.FROZEN:
            self._freezer.thaw()
        if state.runtime is ProcessState.ABSENT and state.usable:
            state.advance(PhaseEvent.INITIALIZE_AGAIN)  # now: from here on it is not idle
            self._tasks.spawn(self._initialize_and_invoke(invocation, on_end), "init within an invocation")
            return
        version = invocation.route.version
        limit_s: float = version.timeout_s
        first = self.first
        if first is not None and first.spent_us:
            limit_s = max(0.001, limit_s - first.spent_us / 1e6)
        now_ms = int(self._clock.time() * 1000)
        invocation.deadline_ms = now_ms + int(limit_s * 1000)
        if first is None or not invocation.tail:  # what the init printed is shown with the first invocation
            self._log.keep_tail(invocation.tail)
        if self._log.plain:
            self._log.start(now_ms, invocation)
        else:
            self._log_start(invocation, now_ms)
        self.count += 1
        self._invocation, self._on_end = invocation, on_end
        told = self._extensions.take_invocations
        on_run_end = self._on_runtime_end if told else self._on_run_end
        self._run.begin(invocation.request_id, self._clock.monotonic(), limit_s, on_run_end)
        if state.usable:
            state.advance(PhaseEvent.INVOKE)
            if told:
                self._extensions.invoke(invocation)
            assert self._runtime.session is not None
            self._runtime.session.invoke(invocation)
        else:
            outcome = self._runtime.exit_outcome()
            outcome.undelivered = True
            self._run.end(outcome)

    def _log_start(self, invocation: Invocation, now_ms: int) -> None:
        version = invocation.route.version
        event = platform_events.start(invocation.request_id, version, invocation.trace)
        self._log.start_event(now_ms, event, start_line(invocation.request_id, version.version))

    async def _initialize_and_invoke(self, invocation: Invocation, on_end: OnEnd) -> None:
        """Run the init as part of the invocation, after a reset or a failed init. /tmp is kept."""
        version = invocation.route.version
        try:
            if not self._state.usable:  # it ended after it was taken
                raise SandboxError(f"environment {self._log.environment} has gone")
            outcome = await self._startup.initialize_again(version, version.timeout_s, invocation.request_id)
            if outcome.status == "success":
                self._startup.log_report(outcome, "invoke")
                self._log.end_init()
                self.first = FirstReport(spent_us=outcome.duration_us)
                self.invoke(invocation, on_end)
                return
            self._startup.log_report(outcome, "invoke")
            self._log.end_init()
            await self._startup.complete(outcome, version)
        except Exception as error:  # whatever it is, the invocation has its end
            log.warning("environment %s does not come up after its reset: %s", self._log.environment, error, exc_info=_unexpected(error))
            outcome = error_outcome("Runtime.ExitError", NO_REASON, invocation.request_id)
            outcome.undelivered = True  # the function has seen nothing of it
            self._describe(outcome, version)
        on_end(outcome)

    # --- with extensions ------------------------------------------------------------------------------------------------

    def _on_runtime_end(self, outcome: Outcome) -> None:
        """Take the runtime's answer of an invocation that extensions are told of: it ends when they have done their work on it, too.

        The caller gets the answer at once, unless it asks for the log, which is not complete yet.
        """
        self._runtime_us, outcome.extensions_us = outcome.duration_us, 0
        if not self._log.plain and self._invocation is not None and not outcome.undelivered:
            self._log.drain()  # what was printed comes before it
            self._log.platform(runtime_done(self._invocation, outcome), None)
        if not outcome.reusable or self._extensions.are_done:
            self._on_run_end(outcome)
            return
        invocation, on_end, run = self._invocation, self._on_end, self._run
        assert invocation is not None and on_end is not None
        self._held = outcome
        run.begin(run.request_id, run.began, run.limit_s, self._on_extensions_end)
        if not invocation.tail:
            pending = replace(outcome, pending=True)
            self._describe(pending, invocation.route.version)
            on_end(pending)

    def on_extensions_progress(self) -> None:
        """See whether the extensions have ended their work on an invocation that the runtime has answered."""
        if self._held is not None and self._extensions.are_done:
            self._run.end(self._held)

    def _on_extensions_end(self, outcome: Outcome) -> None:
        self._held = None
        outcome.extensions_us = max(0, outcome.duration_us - self._runtime_us)
        self._on_run_end(outcome)

    # --- its end --------------------------------------------------------------------------------------------------------

    def _on_run_end(self, outcome: Outcome) -> None:
        """Take what was printed until now: it belongs to the invocation that has ended."""
        if left := self._log.drain():
            self._tasks.spawn(self._read_printed(outcome, left), "log of an invocation")
        else:
            self._complete(outcome)

    async def _read_printed(self, outcome: Outcome, left: int) -> None:
        try:
            await self._log.read_more(left)
        finally:
            self._complete(outcome)

    def _complete(self, outcome: Outcome) -> None:
        invocation, on_end, first = self._invocation, self._on_end, self.first
        assert invocation is not None and on_end is not None
        self._invocation = self._on_end = self.first = None
        version = invocation.route.version
        timeout_us = version.timeout_s * 1_000_000
        if first is not None:
            outcome.init_us, outcome.restore_us = first.init_us, first.restore_us
            outcome.duration_us += first.spent_us
        if outcome.duration_us > timeout_us:  # a late timer does not extend the timeout
            outcome.duration_us = timeout_us
        if self._state.phase is Phase.BUSY:
            if outcome.reusable:
                self._memory.ran(outcome.duration_us)
            else:
                self._memory.read()
        if outcome.undelivered:
            outcome.started = not self._log.retract(start_line(invocation.request_id, version.version))
        else:
            outcome.started = True
            if not self._log.plain:
                outcome.on_record = self._log.telemetry.report
                if outcome.extensions_us is None:  # else it was logged when it had happened
                    self._log.platform(runtime_done(invocation, outcome), None)
        outcome.events, outcome.start_ms = self._log.take_events()
        if invocation.tail:
            outcome.tail = self._log.written_tail
        self._describe(outcome, version)
        on_end(outcome)

    def _describe(self, outcome: Outcome, version: FunctionVersion) -> None:
        outcome.environment = self._log.environment
        outcome.stream = self._log.stream
        outcome.max_memory_mb = self._memory.reported_mb(version.memory_mb)


def runtime_done(invocation: Invocation, outcome: Outcome) -> PlatformEvent:
    produced_bytes = invocation.streamed_bytes or (len(outcome.payload) if isinstance(outcome.payload, bytes) else None)
    return platform_events.runtime_done(
        invocation.request_id, outcome.status, outcome.error_type, outcome.duration_us / 1000, produced_bytes, invocation.trace
    )


def _unexpected(error: Exception) -> bool:
    return not isinstance(error, HanabiError | OSError)
