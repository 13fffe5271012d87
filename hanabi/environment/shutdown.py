"""The shutdown phase of an environment with extensions: ends the runtime, tells the extensions, and waits for them.

AWS Lambda developer guide, "Understanding the Lambda execution environment lifecycle", Shutdown phase: without extensions there is none;
with internal ones it lasts 500 ms, with external ones 2 s. Of these the runtime has 30 %, as in the Runtime Interface Emulator: SIGTERM,
then SIGKILL. After that SHUTDOWN goes to the extensions that asked for it; the others are killed. What is left at the end, the caller
kills.
"""

import asyncio
from collections.abc import Callable
from signal import SIGKILL, SIGTERM

from hanabi.base.clock import Clock
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.extension_processes import EnvironmentExtensions
from hanabi.environment.states import RUNTIME, EnvironmentState, PhaseEvent, SandboxState
from hanabi.quotas import SHUTDOWN_EXTERNAL_S, SHUTDOWN_INTERNAL_S

RUNTIME_SHARE = 0.3
SPINDOWN, TIMEOUT, FAILURE = "spindown", "timeout", "failure"  # why an environment ends, as extensions are told


class Shutdown:
    """The phase. Call `on_exit` for each process that exits meanwhile."""

    def __init__(self, sandbox: Sandbox, clock: Clock, state: EnvironmentState, extensions: EnvironmentExtensions) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._state = state
        self._extensions = extensions
        self._exit = asyncio.Event()

    def on_exit(self) -> None:
        self._exit.set()

    @property
    def is_due(self) -> bool:
        """Whether there is anybody who is told."""
        intact = self._state.sandbox in (SandboxState.RUNNING, SandboxState.FROZEN)
        return self._extensions.are_any and intact and bool(self._state.living())

    async def run(self, reason: str, moved: Callable[[PhaseEvent], None] = lambda event: None) -> None:
        """Run the phase; no effect without extensions. `moved` is called when it begins, and when the runtime has ended."""
        if not self.is_due:
            return
        state, external = self._state, self._extensions.are_external
        limit_s = SHUTDOWN_EXTERNAL_S if external else SHUTDOWN_INTERNAL_S
        until = self._clock.monotonic() + limit_s
        moved(PhaseEvent.SHUT_DOWN)
        if state.living([RUNTIME]):
            self._sandbox.signal(RUNTIME, SIGTERM)
            await self._wait(lambda: not state.living([RUNTIME]), until - (limit_s * (1 - RUNTIME_SHARE) if external else 0.0))
            if state.living([RUNTIME]):
                self._sandbox.signal(RUNTIME, SIGKILL)
        moved(PhaseEvent.RUNTIME_ENDED)
        deadline_ms = int((self._clock.time() + until - self._clock.monotonic()) * 1000)
        roles = self._extensions.roles
        for role in state.living(roles):
            if not self._extensions.shut_down(role, reason, deadline_ms):
                self._sandbox.signal(role, SIGKILL)
        await self._wait(lambda: not state.living(roles), until)

    async def _wait(self, ended: Callable[[], bool], until: float) -> None:
        """Wait for the condition, until the time `until` at most."""
        timer = self._clock.call_later(max(0.0, until - self._clock.monotonic()), self._exit.set)
        try:
            while not ended() and self._clock.monotonic() < until:
                self._exit.clear()
                await self._exit.wait()
        finally:
            timer.cancel()
