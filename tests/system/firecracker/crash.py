"""A driver process to be killed: makes sandboxes until a stand-in has come to a moment, says so, and waits. Arguments: directory, moment.

A moment is a request, a message to the agent, `jailer` (one of them hangs), or `ready` (two live, one of them frozen).
"""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from hanabi.base.clock import SystemClock
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.sandbox.firecracker.driver import FirecrackerDriver
from hanabi.sandbox.host import mounts
from hanabi.testing.firecracker import Fault, make_fakes
from tests.system.firecracker.rig import PRELOAD, PlainDrives, image_of, parts_in
from tests.waiting import until


async def main(directory: Path, moment: str) -> None:
    script = directory / "script.json"
    fault = Fault(on="jailer" if moment == "jailer" else moment.replace("AGENT", "agent"), do="hang")
    script.write_text(json.dumps({"version": "1.16.1", "faults": [asdict(fault)]}))
    make_fakes(directory, script)
    driver = FirecrackerDriver(
        directory / "run",
        parts=parts_in(directory),
        drives=PlainDrives(directory / "drives"),
        snapshots=directory / "snapshots",
        slots=8,
        clock=SystemClock(),
        resolvers=(),
    )
    await driver.open()
    specs = [SandboxSpec(id=f"box-{n}", image=image_of(directory), memory_mb=128, tmp_mb=16, preload=PRELOAD) for n in range(2)]
    making = asyncio.gather(*map(driver.create, specs))
    if moment == "ready":
        boxes = await making
        boxes[0].freeze()
    else:
        ledger = Path(f"{script}.ledger")
        await until(lambda: ledger.exists() and any(ledger.read_bytes()))
    print("ready", flush=True)
    await asyncio.Event().wait()


mounts.enter_private_mounts()
asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
