"""Waits for conditions that nothing announces: files, /proc, another process or thread. What is announced is awaited instead."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from hanabi.testing.clock import ManualClock

T = TypeVar("T")
WITHIN_S = 60.0  # for a loaded machine: what is right is true long before


async def until(
    condition: Callable[[], T | None], within_s: float = WITHIN_S, *, clock: ManualClock | None = None, step_s: float = 1.0
) -> T:
    """The first true value of a condition. With a clock, `step_s` of its time pass before each look."""
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not true within {within_s} s: {condition}"
        if clock is not None:
            await clock.advance(step_s)
        await asyncio.sleep(0.002)


def wait_for(condition: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
    """`until`, for a test without a loop."""
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not true within {within_s} s: {condition}"
        time.sleep(0.02)
