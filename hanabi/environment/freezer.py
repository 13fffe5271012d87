"""Freezes an environment that stays idle for a while, and thaws it."""

import logging
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.deadline import Deadline
from hanabi.environment.states import EnvironmentState, Phase, SandboxEvent

log = logging.getLogger(__name__)


class Freezer:
    """The freezer. `on_failure` is called later, when a freeze or thaw failed: the sandbox is unusable then."""

    def __init__(self, sandbox: Sandbox, clock: Clock, state: EnvironmentState, after_s: float, on_failure: Callable[[], None]) -> None:
        self._sandbox = sandbox
        self._clock = clock
        self._state = state
        self._after_s = after_s
        self._on_failure = on_failure
        self._idle = Deadline(clock, self.freeze)

    def arm(self, idle_since: float) -> None:
        """Freeze if the environment stays idle for a while."""
        if self._after_s > 0:
            self._idle.set(idle_since, self._after_s)
        else:
            self.freeze()

    def freeze(self) -> None:
        """Freeze, unless it is not idle any more."""
        if self._state.phase is not Phase.IDLE or self._state.frozen or not self._state.usable:
            return
        try:
            self._sandbox.freeze()
        except OSError:
            self._fail()
        else:
            self._state.advance_sandbox(SandboxEvent.FREEZE)

    def thaw(self) -> None:
        """Thaw a frozen environment."""
        try:
            self._sandbox.thaw()
        except OSError:
            self._fail()
        else:
            self._state.advance_sandbox(SandboxEvent.THAW)

    def close(self) -> None:
        self._idle.close()

    def _fail(self) -> None:
        log.exception("environment %s cannot be frozen or thawed any more", self._sandbox.id)
        self._state.advance_sandbox(SandboxEvent.FAIL)
        self._clock.call_later(0, self._on_failure)  # later: the caller is not done yet
