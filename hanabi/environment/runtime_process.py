"""The runtime of an environment: its process, its session and its exit. After a reset it is another process."""

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
from hanabi.environment.extension_processes import EnvironmentExtensions
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import exit_outcome
from hanabi.environment.run import Run
from hanabi.environment.runtime_link import RuntimeLink
from hanabi.environment.shared import SharedServices
from hanabi.environment.states import RUNTIME, EnvironmentState, Phase, ProcessEvent, ProcessState, SandboxEvent
from hanabi.environment.variables import generic_variables
from hanabi.runtime.session import RuntimeSession
from hanabi.runtime.states import RuntimeState

EXIT_GRACE_S = 0.01  # after the runtime has ended: its last bytes may still arrive


class RuntimeProcess:
    """The runtime. `on_ready`: its init is over, or it asks for the next invocation. `on_gone`: it, or an extension, has ended, and all
    output was read.

    `on_late_exit`: a process has exited in an environment that is ending, or being reset.
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
        extensions: EnvironmentExtensions,
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
        self._extensions = extensions
        self._on_ready = on_ready
        self._on_gone = on_gone
        self._on_late_exit = on_late_exit
        self.session: RuntimeSession | None = None
        self._link: RuntimeLink | None = None
        self._forget()

    def _forget(self) -> None:
        """Forget the exit of the previous process."""
        self.exit: Exit | None = None
        self._ended_at = math.inf  # monotonic: when its end was seen, before the wait for its last bytes
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
        """Give the loaded process its function, or start the process, once the extensions have registered.

        Raises `EntrypointError`, `SandboxError`, and as `EnvironmentExtensions.start`.
        """
        link, generic = self._link, self._state.runtime is ProcessState.LOADED
        if not generic or link is None:
            link = await self._open(version)
        await self._extensions.start(version, variables)
        self._state.advance_process(RUNTIME, ProcessEvent.START)
        if not generic:
            await start_runtime(self._sandbox, self._image, version, variables)
        if link.channel:
            link.channel.initialize(variables, version.handler, self._sandbox.task_root, generic=generic)

    async def restore(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        """Let the process in a clone of its function's snapshot run its hooks, once new extensions have registered. Raises as `start`."""
        self._state.advance_process(RUNTIME, ProcessEvent.START)
        link = await self._open(version, RuntimeState.AWAITING_RESTORE)
        await self._extensions.start(version, variables)
        if (channel := link.channel) is not None:
            link.session.send_restore = lambda: channel.send_restored(variables)
        link.session.restore()

    async def resume(self, version: FunctionVersion) -> None:
        """Continue the process in a clone of a hibernated sandbox."""
        self._state.advance_process(RUNTIME, ProcessEvent.START)
        link = await self._open(version, RuntimeState.RESTORING)
        if link.channel is not None and not exec_wrapper(version):  # it waits on its channel and does not ask again
            link.session.next()

    async def _open(self, version: FunctionVersion | None, begin: RuntimeState = RuntimeState.STARTING) -> RuntimeLink:
        """Open the link. A bundled bootstrap uses only the channel."""
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
        extensions = self._extensions
        await link.open(self._shared.clock, self._credentials.find, lambda: extensions.current, channel=channel, bundled=bundled)
        if link.channel:
            link.channel.on_hangup = self._on_hangup
        return link

    # --- its end ------------------------------------------------------------------------------------------------------

    def end_run(self) -> None:
        """End the current run of a runtime that has ended: with an answer it had sent, else with its exit."""
        session = self.session
        held = session.held_answer() if session is not None else None
        if held is not None:
            payload, error_type = held
            outcome = Outcome(payload, "error" if error_type else "success", error_type)
        else:
            outcome = self.exit_outcome()
            outcome.undelivered = session is not None and not self._extensions.is_lost and session.lost(self.exit)
        self._run.end(outcome, self._ended_at)

    def exit_outcome(self) -> Outcome:
        """Make the outcome of its exit, or of an extension's."""
        if (failure := self._extensions.failure(self.exit, self._run.request_id)) is not None:
            return failure
        killed = self.exit is not None and self.exit.signal == SIGKILL and self._state.phase not in (Phase.STOPPING, Phase.GONE)
        return exit_outcome(self.exit, self._violation, self._run.request_id, out_of_memory=killed and self._memory.was_exceeded())

    def on_exit(self, ended: Exit) -> None:
        """Handle the agent's report that a process or the sandbox has ended."""
        state = self._state
        if ended.role == "sandbox":
            state.advance_sandbox(SandboxEvent.LOSE)
        elif ended.role == RUNTIME and state.runtime is ProcessState.ABSENT:
            return  # it was killed
        else:
            state.advance_process(ended.role, ProcessEvent.EXIT)
        if state.ended or (state.phase is Phase.RESETTING and ended.role != "sandbox"):
            self._on_late_exit()
        elif ended.role == "sandbox":
            self.exit = self.exit or ended
            self._see_end()
            self._on_gone()
        elif ended.role == RUNTIME:
            self.exit = ended
            self._see_end()
            self._call_later(EXIT_GRACE_S)
        elif self._extensions.on_exit(ended):
            self._see_end()
            self._call_later(EXIT_GRACE_S)

    def _on_violation(self, reason: str) -> None:
        self._state.advance_process(RUNTIME, ProcessEvent.BREAK)
        self._violation = reason
        self._see_end()
        self._call_later(2 * EXIT_GRACE_S)  # usually a closed channel: the exit that follows says more

    def _on_hangup(self) -> None:
        """Handle a closed channel. The exit or the deadline ends a current run."""
        if not self._run.under_way:
            self._state.advance_process(RUNTIME, ProcessEvent.HANG_UP)

    def _see_end(self) -> None:
        self._ended_at = min(self._ended_at, self._shared.clock.monotonic())

    def _call_later(self, seconds: float) -> None:
        self._timers.append(self._shared.clock.call_later(seconds, self._on_gone))

    def hang_up(self) -> None:
        """Stop reading from it. Idempotent, as `close`."""
        for timer in self._timers:
            timer.cancel()
        if self._link is not None:
            self._link.hang_up()

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()

    async def reset(self) -> None:
        """End all processes; the sandbox stays. Raises `OSError`, `SandboxError`."""
        self.hang_up()
        await self.close()
        self._state.kill_processes()  # now: the exits that the agent tells of are no news
        await self._sandbox.reset()
        self._forget()
