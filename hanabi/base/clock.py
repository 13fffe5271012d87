"""The injected clock: its protocol, and the real one. Tests use `hanabi.testing.ManualClock`."""

import asyncio
import time as system_time
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time, injected so that tests control it."""

    def time(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer: ...


class SystemClock:
    """Time from the system and the running event loop."""

    time = staticmethod(system_time.time)  # the system's functions themselves: they are asked ten times in an invocation
    monotonic = staticmethod(system_time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback, *args)
