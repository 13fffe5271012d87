"""Time that passes for what is unused: as much as a collector sees of it."""

from collections.abc import Awaitable, Callable

from hanabi.images.trash import STEP_S
from hanabi.testing import ManualClock


async def pass_time(clock: ManualClock, seconds: float, collect: Callable[[], Awaitable[None]]) -> None:
    """The collector runs now, and from then on so often that it counts all of the time."""
    await collect()
    while seconds > 0:
        await clock.advance(min(STEP_S, seconds))
        seconds -= STEP_S
        await collect()
