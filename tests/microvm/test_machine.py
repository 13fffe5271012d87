"""The sandbox itself on the real Firecracker: memory that runs out, trimming, drives, what is left."""

import asyncio
import json
import os
import struct
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.sandbox import Exit, SandboxSpec
from hanabi.environment.variables import preload_of
from hanabi.errors import SandboxError
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.node.config import guest_dir, load_settings
from hanabi.node.drivers import make_firecracker
from hanabi.runtime.frames import init_frame
from hanabi.sandbox.firecracker.microvm import MicroVm
from tests import leftovers
from tests.microvm import rig
from tests.server import IMAGES

reason = rig.why_not(build=rig.building())
pytestmark = [pytest.mark.skipif(bool(reason), reason=f"no real microVMs: {reason}"), pytest.mark.limit_s(rig.SLOW_S)]
thorough = pytest.mark.skipif(not rig.thorough(), reason="takes a minute where KVM is nested in software: make test-microvm")

MEMORY_MB = 512
CODE = """
def handler(event, context):
    return eval(event)
"""


class Bench:
    """A driver of its own, and functions whose channel the test holds."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="hanabi-machine-", dir="/var/tmp"))
        self.directory.chmod(0o755)
        self.code = self.directory / "code" / "task"
        self.code.mkdir(parents=True)
        (self.code / "f.py").write_text(CODE)
        words = rig.options()
        given = {name[2:].replace("-", "_"): value for name, value in zip(words[::2], words[1::2], strict=True)}
        settings = load_settings({**given, "data_dir": self.directory, "images_dir": IMAGES, "max_environments": 16}, {})
        self.run_dir = self.directory / "run"
        self.driver = make_firecracker(settings, self.run_dir)
        self._count = 0

    @asynccontextmanager
    async def function(self) -> AsyncIterator["Function"]:
        image = await RuntimeImages(IMAGES, guest_dir()).ensure("python3.13")
        self._count += 1
        spec = SandboxSpec(id=f"m-{self._count}", image=image, memory_mb=MEMORY_MB, tmp_mb=512, preload=preload_of(image))
        function = Function(await self.driver.create(spec))
        try:
            function.box.limit(memory_mb=MEMORY_MB, vcpus=None)
            await function.box.mount(self.code, "/var/task")
            await function.send(init_frame({"PATH": "/bin"}, "f.handler", "/var/task", generic=True))
            assert (await function.receive())[0] == "r"
            yield function
        finally:
            await function.box.destroy()


class Function:
    def __init__(self, box: MicroVm) -> None:
        self.box = box
        self._heard = b""
        self.exits: asyncio.Queue[Exit] = asyncio.Queue()
        box.on_exit = self.exits.put_nowait

    async def send(self, frame: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.box.runtime, frame)

    async def receive(self) -> tuple[str, bytes]:
        """One frame. Two may come in one piece: an answer, and that the runtime waits again."""
        loop = asyncio.get_running_loop()
        while len(self._heard) < 5 or len(self._heard) < 4 + int.from_bytes(self._heard[:4], "little"):
            part = await loop.sock_recv(self.box.runtime, 65536)
            assert part, "the runtime hung up"
            self._heard += part
        end = 4 + int.from_bytes(self._heard[:4], "little")
        frame, self._heard = self._heard[:end], self._heard[end:]
        return chr(frame[4]), frame[5:]

    async def ask(self, expression: str) -> None:
        head = f"id\n{int(time.time() * 1000) + 60_000}\narn\n\n\n".encode()
        payload = json.dumps(expression).encode()
        await self.send(struct.pack("<IBH", len(head) + len(payload) + 3, ord("n"), len(head)) + head + payload)

    async def eval(self, expression: str) -> Any:
        await self.ask(expression)
        kind, body = await self.receive()
        assert kind == "o", body
        assert (await self.receive())[0] == "r"
        return json.loads(body)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@thorough
async def test_memory_that_runs_out_kills_the_function_not_the_agent(bench: Bench) -> None:
    await bench.driver.open()
    try:
        async with bench.function() as function:
            assert await function.eval("1 + 1") == 2
            peak = function.box.peak_memory()
            assert 10 << 20 < peak < 200 << 20
            assert await function.eval("len(bytearray(1 << 20))") == 1 << 20
            assert function.box.peak_memory() >= peak
            function.box.limit(memory_mb=8, vcpus=None)  # less than it has: to take more costs an emulated processor minutes
            await function.ask("len(b'x' * (4 << 20))")
            assert replace(await function.exits.get(), bytes_read=None) == Exit("runtime", None, 9)
            assert function.box.oom_kills() == 1
            await function.box.ping()
            with pytest.raises(SandboxError, match="functions of up to 512 MB"):
                function.box.limit(memory_mb=513, vcpus=None)
    finally:
        await bench.driver.close()
    assert leftovers.of_run(bench.run_dir) == []


@thorough
async def test_a_machine_gives_memory_back_and_goes_on(bench: Bench) -> None:
    if "--trim-after-s" in rig.options():
        pytest.skip(
            "a balloon takes minutes on a host without hardware virtualisation; tests/system/firecracker tries the calls on the double"
        )
    await bench.driver.open()
    try:
        async with bench.function() as function:
            assert await function.eval("len(b'x' * (24 << 20))") == 24 << 20
            function.box.freeze()
            before = pss(function.box)
            await function.box.trim()
            assert pss(function.box) < before
            used = function.box.cpu_usage()
            await asyncio.sleep(0.3)  # a length of time to measure over
            assert function.box.cpu_usage() - used < 50_000  # it is paused again
            function.box.thaw()
            assert await function.eval("2 + 2") == 4
    finally:
        await bench.driver.close()


def pss(box: MicroVm) -> int:
    pid = int((box.vmm.jail.root / "firecracker.pid").read_text())
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.partition("Pss:")[2].split()[0])


@thorough
async def test_many_starts_leave_nothing(bench: Bench) -> None:
    """As many as such a host makes in a minute; the container driver's test makes three hundred."""

    await bench.driver.open()
    try:
        image = await RuntimeImages(IMAGES, guest_dir()).ensure("python3.13")
        descriptors: list[int] = []
        for number in range(10):
            spec = SandboxSpec(id=f"s-{number}", image=image, memory_mb=MEMORY_MB, tmp_mb=512, preload=preload_of(image))
            await (await bench.driver.create(spec)).destroy()
            descriptors.append(len(os.listdir("/proc/self/fd")))
        assert max(descriptors[2:]) - min(descriptors[2:]) <= 8  # slots made ahead come and go
        assert list((bench.run_dir / "jails" / "firecracker").iterdir()) == []
    finally:
        await bench.driver.close()
    assert leftovers.of_run(bench.run_dir) == []
