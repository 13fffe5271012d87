"""`kill -9` while functions are made, published, updated and deleted: what was answered is there, and all of it is consistent."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.control.support import open_plane, place_of

PROGRAM = """
import asyncio, sys
from pathlib import Path
from hanabi.control.versions import publish_settled
from tests.unit.control.support import create_params, open_plane

async def work(plane, name):
    for number in range(1, 1000):
        await plane.deployment.create(name, create_params(name, code=str(number).encode()))
        await plane.wait_idle()
        for memory in (256, 512):
            await plane.deployment.update_settings(name, {"MemorySize": memory})
            await plane.wait_idle()
            function = await plane.functions.change(
                name, lambda f: publish_settled(f, sha256=None, revision_id=None, description=None)
            )
            print(name, function.id, function.last_version, flush=True)
        await plane.deployment.delete(name)
        print(name, "gone", 0, flush=True)

async def main():
    async with open_plane(Path(sys.argv[1])) as plane:
        await asyncio.gather(*(work(plane, f"f{n}") for n in range(4)))

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 30, 100])
async def test_what_was_answered_survives_a_kill(tmp_path: Path, lines: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.stdout.close()
    process.wait(10)
    last = {name: (function_id, int(version)) for name, function_id, version in (line.split() for line in said if line.endswith("\n"))}
    assert last

    async def check() -> None:
        async with open_plane(tmp_path) as plane:
            await plane.wait_idle()
            for function in plane.functions:
                assert function.latest.settled
                for version in function.versions.values():
                    assert plane.catalog.resolve(function.name, version.number).version.code == place_of(version.code)
            for name, (function_id, version_number) in last.items():
                function_now = plane.functions.get(name)
                if function_now is not None and function_now.id == function_id:
                    assert function_now.last_version >= version_number
                else:  # it was deleted, perhaps without being told, and perhaps made anew
                    assert version_number in (0, 2)

    await check()
