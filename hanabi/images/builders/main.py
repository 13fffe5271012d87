"""The common main function of builder processes: progress lines on standard output, the error on standard error."""

import os
import sys
from collections.abc import Callable

from hanabi.errors import ImageError

Progress = Callable[[str], None]


def run_as_builder(build: Callable[[Progress], None], explain: Callable[[Exception], str] = str) -> int:
    """Run `build(progress)` under an umask that lets others read the result. Returns the exit status."""
    os.umask(0o022)
    try:
        build(lambda line: print(line, flush=True))
    except (ImageError, OSError) as error:
        print(explain(error), file=sys.stderr)
        return 1
    return 0
