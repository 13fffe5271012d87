"""The runtime of an environment: its process, the session it speaks in, and what it died of. After a reset it is another process."""

import math
from collections.abc import Callable
from signal import SIGKILL

from hanabi.base.clock import Timer
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Outcome
from hanabi.contracts.sandbox import Exit, Sandbox
from hanabi.environment.credentials import EnvironmentCredentials
from hanabi.environment.entrypoint import exec_wrapper, start_runtime
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import exit_outcome
from hanabi.environment.run import Run
from hanabi.environment.runtime_link import RuntimeLink
from hanabi.environment.shared import SharedServices
from hanabi.environment.states import RUNTIME, EnvironmentState, Phase, ProcessEvent, ProcessState, SandboxEvent
from hanabi.environment.variables import generic_variables
from hanabi.runtime.session import RuntimeSession
from hanabi.runtime.states import RuntimeState

EXIT_GRACE_S = 0.01  # after the runtime has gone: what it sent before is still on its way


class RuntimeProcess:
    """`on_ready`: its init is over, or it asks for the next invocation. `on_gone`: it has ended, and nothing more will come of it.

    `on_late_exit`: a process has ended in an environment that ends itself.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        image: RuntimeImage,
        shared: SharedServices,
        state: EnvironmentState,
        credentials: EnvironmentCredentials,
        memory: MemoryUse,
        run: Run,
        on_ready: Callable[[], None],
        on_gone: Callable[[], None],
        on_late_exit: Callable[[], None],
    ) -> None:
        self._sandbox = sandbox
        self._image = image
        self._shared = shared
        self._state = state
        self._credentials = credentials
        self._memory = memory
        self._run = run
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._on_late_exit = on_late_exit
        self.session: RuntimeSession | None = None
        self._link: RuntimeLink | None = None
        self._forget()

    def _forget(self) -> None:
        """What the one before died of."""
        self.exit: Exit | None = None
        self._ended_at = math.inf  # monotonic: when it was seen to be over, before what it sent last was waited for
        self._violation = ""
        self._timers: list[Timer] = []

    # --- its beginning ------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the bundled bootstrap before any function is known, unless the sandbox came with it. Raises `SandboxError`."""
        if self._state.runtime is ProcessState.LOADED:
            return
        self._state.advance_process(RUNTIME, ProcessEvent.LOAD)
        await self._open(None)
        sandbox = self._sandbox
        if not sandbox.preloaded:
            variables = generic_variables(self._image, runtime_api=sandbox.runtime_api_address, task_root=sandbox.task_root)
            await sandbox.start(RUNTIME, self._image.command, variables, "/")

    async def start(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        """Make it the function's, or start it as that. Raises `EntrypointError`, `SandboxError`."""
        link, generic = self._link, self._state.runtime is ProcessState.LOADED
        if not generic or link is None:
            link = await self._open(version)
        self._state.advance_process(RUNTIME, ProcessEvent.START)
        if not generic:
            await start_runtime(self._sandbox, self._image, version, variables)
        if link.channel:
            link.channel.initialize(variables, version.handler, self._sandbox.task_root, generic=generic)

    async def restore(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        """It is there, in a clone of the snapshot of its function: let it run its hooks."""
        self._state.advance_process(RUNTIME, ProcessEvent.START)
        link = await self._open(version, RuntimeState.AWAITING_RESTORE)
        if (channel := link.channel) is not None:
            link.session.send_restore = lambda: channel.send_restored(variables)
        link.session.restore()

    async def resume(self, version: FunctionVersion) -> None:
        """It is there, in a clone of a hibernated sandbox, and goes on."""
        self._state.advance_process(RUNTIME, ProcessEvent.START)
        link = await self._open(version, RuntimeState.RESTORING)
        if link.channel is not None and not exec_wrapper(version):  # it waits on its channel, and does not say so again
            link.session.next()

    async def _open(self, version: FunctionVersion | None, begin: RuntimeState = RuntimeState.STARTING) -> RuntimeLink:
        """Open both ends on which a runtime may speak; a bundled bootstrap has the channel to itself."""
        end = self._run.end
        session = RuntimeSession(
            on_ready=self._on_ready,
            on_init_error=lambda payload, kind: end(Outcome(payload, "error", kind), self._ended_at),
            on_result=lambda payload: end(Outcome(payload, "success", None, None, True), self._ended_at),
            on_error=lambda payload, kind: end(Outcome(payload, "error", kind, None, True), self._ended_at),
            on_violation=self._on_violation,
            on_awaiting_restore=self._on_ready,
            begin=begin,
        )
        link = self._link = RuntimeLink(self._sandbox, session)
        self.session = session
        channel = bool(self._image.command)
        bundled = channel and not exec_wrapper(version)
        await link.open(self._shared.clock, self._credentials.find, channel=channel, bundled=bundled)
        if link.channel:
            link.channel.on_hangup = self._on_hangup
        return link

    # --- its end ------------------------------------------------------------------------------------------------------

    def end_run(self) -> None:
        """It has gone: what was under way ends with the answer that it left behind, else with what it died of."""
        session = self.session
        held = session.held_answer() if session is not None else None
        if held is not None:
            payload, error_type = held
            outcome = Outcome(payload, "error" if error_type else "success", error_type)
        else:
            outcome = self.exit_outcome()
            outcome.undelivered = session is not None and session.lost(self.exit)
        self._run.end(outcome, self._ended_at)

    def exit_outcome(self) -> Outcome:
        """What it died of."""
        killed = self.exit is not None and self.exit.signal == SIGKILL and self._state.phase not in (Phase.STOPPING, Phase.GONE)
        return exit_outcome(self.exit, self._violation, self._run.request_id, out_of_memory=killed and self._memory.was_exceeded())

    def on_exit(self, ended: Exit) -> None:
        """The agent says that a process, or its sandbox, has ended."""
        state = self._state
        if ended.role == "sandbox":
            state.advance_sandbox(SandboxEvent.LOSE)
        elif state.phase is Phase.RESETTING or (ended.role == RUNTIME and state.runtime is ProcessState.ABSENT):
            return  # it was killed
        else:
            state.advance_process(ended.role, ProcessEvent.EXIT)
        if state.ended:
            self._on_late_exit()
        elif ended.role == "sandbox":
            self.exit = self.exit or ended
            self._see_end()
            self._on_gone()
        elif ended.role == RUNTIME:
            self.exit = ended
            self._see_end()
            self._call_later(EXIT_GRACE_S)

    def _on_violation(self, reason: str) -> None:
        self._state.advance_process(RUNTIME, ProcessEvent.BREAK)
        self._violation = reason
        self._see_end()
        self._call_later(2 * EXIT_GRACE_S)  # the most usual one is to hang up: the exit that comes with it says more

    def _on_hangup(self) -> None:
        """Nobody is there who could be given anything. What becomes of work under way, its exit or the deadline says."""
        if not self._run.under_way:
            self._state.advance_process(RUNTIME, ProcessEvent.HANG_UP)

    def _see_end(self) -> None:
        self._ended_at = min(self._ended_at, self._shared.clock.monotonic())

    def _call_later(self, seconds: float) -> None:
        self._timers.append(self._shared.clock.call_later(seconds, self._on_gone))

    def hang_up(self) -> None:
        """Nothing that it says is heard any more. Idempotent, as `close`."""
        for timer in self._timers:
            timer.cancel()
        if self._link is not None:
            self._link.hang_up()

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()

    async def reset(self) -> None:
        """End it, and all other processes; the sandbox stays. Raises `OSError`, `SandboxError`."""
        self.hang_up()
        await self.close()
        await self._sandbox.reset()
        self._state.kill_processes()
        self._forget()
