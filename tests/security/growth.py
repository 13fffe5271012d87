"""How the work of something grows with the size of its input: for what must stay linear in what users send.

Work is the CPU time of this thread, the least of several runs, so that neighbours on a busy machine do not count.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

FACTOR = 8  # the larger input is so many times the smaller one: linear work takes 8 times as long, quadratic work 64 times
MOST = 26.0
ENOUGH_S = 0.001  # of work for the smaller input, so that the clock can tell
LARGEST_S = 3.0
LARGEST_SIZE = 200_000  # what then still takes less than ENOUGH_S is no danger


def growth(make: Callable[[int], Any], work: Callable[[Any], Any], size: int, *, runs: int = 2) -> float:
    """How many times longer `work(make(n))` takes for FACTOR times the size. `size`, the smaller one, is made large enough to measure."""
    small = _least(work, make(size), runs)
    while small < ENOUGH_S:
        size *= 2
        if size > LARGEST_SIZE:
            return 0.0
        small = _least(work, make(size), runs)
    large = _least(work, make(size * FACTOR), runs)
    return large / small


def assert_linear(make: Callable[[int], Any], work: Callable[[Any], Any], size: int = 1000) -> None:
    """Fail when the work grows like the square of the size, or worse. `work` may raise for what it refuses."""
    for _ in range(3):  # a collection or an interrupt in the wrong place
        ratio = growth(make, work, size)
        if ratio < MOST:
            return
    raise AssertionError(f"{FACTOR} times the input takes {ratio:.0f} times the work")


def _least(work: Callable[[Any], Any], given: Any, runs: int) -> float:
    least = float("inf")
    gc.disable()  # a collection costs what is there, not what is done
    try:
        for _ in range(runs):
            began = time.thread_time()
            work(given)
            least = min(least, time.thread_time() - began)
            if least > LARGEST_S:
                raise AssertionError(f"one run took {least:.1f} s")
    finally:
        gc.enable()
    return least
