"""The server whose path is measured: `python -m bench.path.node DIRECTORY PORT SOCKET`. Prints `ready` when it serves.

`SOCKET`: where the stand-ins of runtimes are. SIGUSR1: the clock goes in steps from now on. SIGUSR2: begin to profile, or end and write
`DIRECTORY/profile`; prints `profiling`.
"""

import asyncio
import cProfile
import signal
import sys
from pathlib import Path

import uvloop

import hanabi.node.artifacts
import hanabi.node.serve
from bench.path.standins import FarDriver, NoImages, StepClock
from hanabi.node.config import load_settings


async def serve(directory: Path, port: int, runtimes: str) -> None:
    flags = {"data_dir": str(directory), "port": str(port), "roles": "any", "pool_size": "0", "no_prebuild": True}
    clock, profile = StepClock(), Profile()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, clock.step)
    loop.add_signal_handler(signal.SIGUSR2, profile.toggle)
    standins = {"choose_driver": lambda settings, health: FarDriver(runtimes), "RuntimeImages": NoImages, "SystemClock": lambda: clock}
    for name, standin in standins.items():
        module = hanabi.node.artifacts if name == "RuntimeImages" else hanabi.node.serve
        getattr(module, name)  # it must be there to be replaced
        setattr(module, name, standin)
    await hanabi.node.serve.serve(load_settings(flags, {}), lambda line: print("ready", flush=True))


class Profile:
    """Of all that the event loop runs."""

    def __init__(self) -> None:
        self._profile: cProfile.Profile | None = None

    def toggle(self) -> None:
        if self._profile is None:
            self._profile = cProfile.Profile(builtins=True)
            self._profile.enable()
        else:
            self._profile.disable()
            self._profile.dump_stats(sys.argv[1] + "/profile")
            self._profile = None
        print("profiling", flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
