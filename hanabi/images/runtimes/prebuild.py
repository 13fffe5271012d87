"""Building the most likely needed roots ahead of time."""

import asyncio
import logging
from collections.abc import Iterable

from hanabi.errors import ImageError
from hanabi.images.runtimes.roots import RuntimeImages, missing_of

COMMON = ("python3.13", "nodejs22.x")  # what `hanabi deploy` and `hanabi init` take for a folder of Python or JavaScript
log = logging.getLogger(__name__)


async def prebuild(images: RuntimeImages, used: Iterable[str]) -> None:
    """Build absent roots of the runtimes in use, then of common ones: one at a time, with low priority."""
    for runtime in await asyncio.to_thread(missing_of, images, [*used, *COMMON]):
        log.info("building the runtime root of %s ahead of its first use (--no-prebuild: only when a function wants it)", runtime)
        try:
            await images.ensure(runtime, urgent=False)
        except ImageError as error:
            log.warning("the runtime root of %s could not be built ahead: %s", runtime, " ".join(str(error).split()))
