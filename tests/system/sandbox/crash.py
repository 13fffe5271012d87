"""A driver process to be killed: makes sandboxes (one busy, one frozen, one idle), says so, and waits. Arguments: directory."""

import asyncio
import sys
from pathlib import Path

from hanabi.base.clock import SystemClock
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.sandbox.agent import find_agent
from hanabi.sandbox.host import mounts
from hanabi.sandbox.oci.driver import OciDriver
from tests.system.sandbox.rig import image_in


async def main(directory: Path) -> None:
    driver = OciDriver(directory / "run", agent=find_agent(), slots=8, clock=SystemClock())
    await driver.open()
    boxes = [await driver.create(SandboxSpec(id=f"box-{n}", image=image_in(directory), memory_mb=128, tmp_mb=16)) for n in range(3)]
    await boxes[0].start("runtime", ["/bin/probe", "forks", "20"], {}, "/")
    await boxes[1].start("runtime", ["/bin/probe", "spin", "600000"], {}, "/")
    boxes[1].freeze()
    print("ready", flush=True)
    late = [SandboxSpec(id=f"late-{n}", image=image_in(directory), memory_mb=128, tmp_mb=16) for n in range(4)]
    await asyncio.gather(*map(driver.create, late))
    await asyncio.Event().wait()


mounts.enter_private_mounts()
asyncio.run(main(Path(sys.argv[1])))
