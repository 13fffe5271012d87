"""The shutdown phase of an environment with extensions: signals the runtime, then the extensions, then kills the rest.

AWS Lambda developer guide, "Lambda execution environment lifecycle", Shutdown phase: without extensions there is none; with external ones
it lasts 2 s. Of these the runtime has 30 %, as in the Runtime Interface Emulator.
"""

import asyncio
from collections.abc import Callable, Mapping
from signal import SIGTERM
from typing import Protocol

from hanabi.base.clock import Clock
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.states import RUNTIME, EnvironmentState, PhaseEvent

LIMIT_S = 2.0
RUNTIME_SHARE = 0.3


class ExtensionSession(Protocol):
    """The session of one extension. It holds the extension's state, as `RuntimeSession` holds the runtime's."""

    def shut_down(self, reason: str, deadline_ms: int) -> None:
        """Send the SHUTDOWN event. `reason`: "spindown" | "timeout" | "failure"."""


class Shutdown:
    """The phase. Call `on_exit` for each process that exits meanwhile."""

    def __init__(self, sandbox: Sandbox, clock: Clock, state: EnvironmentState) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._state = state
        self._exit = asyncio.Event()

    def on_exit(self) -> None:
        self._exit.set()

    async def run(self, extensions: Mapping[str, ExtensionSession], reason: str = "spindown") -> None:
        """Run the phase; no effect without extensions. `extensions`: by role."""
        state = self._state
        if not state.living(extensions):
            return
        until = self._clock.monotonic() + LIMIT_S
        state.advance(PhaseEvent.SHUT_DOWN)
        if state.living([RUNTIME]):
            self._sandbox.signal(RUNTIME, SIGTERM)
        await self._wait(lambda: not state.living([RUNTIME]), until - LIMIT_S * (1 - RUNTIME_SHARE))
        state.advance(PhaseEvent.RUNTIME_ENDED)
        deadline_ms = int((self._clock.time() + until - self._clock.monotonic()) * 1000)
        for role in state.living(extensions):
            extensions[role].shut_down(reason, deadline_ms)
        await self._wait(lambda: not state.living(extensions), until)

    async def _wait(self, ended: Callable[[], bool], until: float) -> None:
        """Wait for the condition, until the time `until` at most."""
        timer = self._clock.call_later(max(0.0, until - self._clock.monotonic()), self._exit.set)
        try:
            while not ended() and self._clock.monotonic() < until:
                self._exit.clear()
                await self._exit.wait()
        finally:
            timer.cancel()
