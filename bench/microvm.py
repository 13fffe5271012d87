"""What a microVM costs, beside the same restore done by hand against the API socket: `python -m bench.microvm [--restores N] [--clones N]`.

Prints the kind of host with every figure: those of a KVM that is nested in software say nothing of hardware.
"""

import argparse
import asyncio
import http.client
import json
import os
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import SandboxSpec
from hanabi.environment.variables import preload_of
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.node.config import guest_dir, load_settings
from hanabi.node.drivers import make_firecracker
from hanabi.sandbox.firecracker import machine
from hanabi.sandbox.firecracker.driver import FirecrackerDriver
from hanabi.sandbox.firecracker.microvm import MicroVm, MicroVmHost
from hanabi.sandbox.firecracker.snapshot_files import Snapshot
from hanabi.sandbox.host import host_ids, kvm
from hanabi.sandbox.host.network import NetworkSlot
from hanabi.sandbox.host.volume import copy_sparse
from tests.microvm import rig
from tests.server import IMAGES

MEMORY_MB, TMP_MB = 512, 512
Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.microvm", description="MicroVMs, measured beside a restore by hand.")
    parser.add_argument("--runtime", default="python3.13")
    parser.add_argument("--restores", type=int, default=20, help="of each kind, in turn")
    parser.add_argument("--clones", type=int, default=8, help="alive together, for memory")
    parser.add_argument("--boot", action="store_true", help="measure a boot as well; minutes on a host without hardware virtualisation")
    options = parser.parse_args()
    if reason := rig.why_not(build=True):
        print(f"bench: no microVMs here: {reason}", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="hanabi-bench-", dir="/var/tmp"))
    directory.chmod(0o755)
    try:
        figures = asyncio.run(measure(make_driver(directory), options))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    kind = "hardware" if kvm.is_hardware() else "nested"
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:>10,.2f}  {kind}")
    print(json.dumps({"host": kind, **figures}))
    return 0


def make_driver(directory: Path) -> FirecrackerDriver:
    words = rig.options()
    given = {name[2:]: value for name, value in zip(words[::2], words[1::2], strict=True)}
    settings = load_settings({**given, "data_dir": directory, "images_dir": IMAGES, "max_environments": 64}, {})
    return make_firecracker(settings, directory / "run")


async def measure(driver: FirecrackerDriver, options: argparse.Namespace) -> Figures:
    figures: Figures = {}
    await driver.open()
    try:
        image = await RuntimeImages(IMAGES, guest_dir()).ensure(options.runtime)
        snapshot = await driver.template(image, MEMORY_MB, preload_of(image))
        if options.boot:
            await _boot(driver, image, snapshot, figures)
        await _restores(driver, image, snapshot, options.restores, figures)
        await _pauses(driver, image, options.restores, figures)
        await _memory_of_restores(driver, image, options.clones, figures)
    finally:
        await driver.close()
    return figures


def spec(id: str, image: RuntimeImage) -> SandboxSpec:
    return SandboxSpec(id=id, image=image, memory_mb=MEMORY_MB, tmp_mb=TMP_MB, preload=preload_of(image))


async def _boot(driver: FirecrackerDriver, image: RuntimeImage, snapshot: Snapshot, figures: Figures) -> None:
    microvm = await driver.make(spec("boot", image), snapshot.size)
    began = time.monotonic()
    try:
        await microvm.boot(snapshot.root)
        figures["boot to the agent, ms"] = (time.monotonic() - began) * 1000
    finally:
        await microvm.destroy()


async def _restores(driver: FirecrackerDriver, image: RuntimeImage, snapshot: Snapshot, count: int, figures: Figures) -> None:
    """Hanabi's and by hand, in turn, so that both have the same noise."""
    ours: list[float] = []
    by_hand: list[float] = []
    spawns: list[float] = []
    cpu_ms = 0.0
    for number in range(count + 1):
        before, began = _own_cpu(), time.monotonic()
        microvm = await driver.create(spec(f"ours-{number}", image))
        took = time.monotonic() - began
        spent = _own_cpu() - before
        await microvm.destroy()
        slot = await driver.host.slots.take()
        hand = await asyncio.to_thread(restore_by_hand, driver.host, snapshot, slot, f"hand-{number}")
        await driver.host.slots.give_back(slot)
        if number:  # the first of each fills caches
            ours.append(took * 1000)
            by_hand.append(hand[1] * 1000)
            spawns.append(hand[0] * 1000)
            cpu_ms += spent * 1000
    figures["VMM spawn to API, by hand, p50 ms"] = statistics.median(spawns)
    figures["restore to first byte, p50 ms"] = statistics.median(ours)
    figures["restore to first byte, max ms"] = max(ours)
    figures["restore by hand, p50 ms"] = statistics.median(by_hand)
    figures["restore by hand, max ms"] = max(by_hand)
    figures["ratio, p50"] = statistics.median(ours) / statistics.median(by_hand)
    figures["Hanabi's own CPU a restore, ms"] = cpu_ms / count


def _own_cpu() -> float:
    """Of this process, not of what it starts."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _pauses(driver: FirecrackerDriver, image: RuntimeImage, count: int, figures: Figures) -> None:
    microvm = await driver.create(spec("pauses", image))
    try:
        pauses: list[float] = []
        resumes: list[float] = []
        pings: list[float] = []
        for _ in range(count):
            for took, call in ((pauses, microvm.vmm.api.pause), (resumes, microvm.vmm.api.resume), (pings, microvm.ping)):
                began = time.monotonic()
                await call()
                took.append((time.monotonic() - began) * 1000)
        figures["pause, p50 ms"] = statistics.median(pauses)
        figures["resume, p50 ms"] = statistics.median(resumes)
        figures["first reply of the agent after it, p50 ms"] = statistics.median(pings)
    finally:
        await microvm.destroy()


async def _memory_of_restores(driver: FirecrackerDriver, image: RuntimeImage, count: int, figures: Figures) -> None:
    began = time.monotonic()
    microvms: Sequence[MicroVm] = await asyncio.gather(*(driver.create(spec(f"clone-{number}", image)) for number in range(count)))
    try:
        figures[f"{count} clones at once, ms each"] = (time.monotonic() - began) * 1000 / count
        for microvm in microvms:
            microvm.freeze()
        shares = [_pss_mb(int((each.vmm.jail.root / "firecracker.pid").read_text())) for each in microvms]
        figures[f"{count} idle clones, PSS each, MiB"] = statistics.mean(shares)
    finally:
        for microvm in microvms:
            await microvm.destroy()


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


# --- by hand


def restore_by_hand(host: MicroVmHost, snapshot: Snapshot, slot: NetworkSlot, id: str) -> tuple[float, float]:
    """(seconds to an API that answers, seconds to the agent's answer) of the same clone, with nothing around it. Blocks."""
    uid = host_ids.machine_uid(slot.number)
    base = host.run_dir / "by-hand"
    root = base / host.parts.firecracker.name / id / "root"
    root.mkdir(parents=True)
    template = host.volumes.template(TMP_MB)
    began = time.monotonic()
    os.chown(root, uid, uid)
    for name, source in (("state", snapshot.state), ("memory", snapshot.memory), (machine.ROOT, snapshot.root)):
        os.link(source, root / name)
    for name in (machine.TASK, machine.OPT):
        os.link(host.empty_drive, root / name)
    copy_sparse(template, root / machine.TMP)
    os.chown(root / machine.TMP, uid, uid)
    # fmt: off
    jailer = [
        str(host.parts.jailer), "--id", id, "--exec-file", str(host.parts.firecracker), "--uid", str(uid), "--gid", str(uid),
        "--chroot-base-dir", str(base), "--netns", slot.path, "--new-pid-ns",
    ]
    # fmt: on
    subprocess.run(jailer, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = int((root / "firecracker.pid").read_text())
    try:
        api = _Api(root / "run/firecracker.socket")
        spawned = time.monotonic() - began
        backend = {"backend_type": "File", "backend_path": "/memory"}
        api.ask("PUT", "/snapshot/load", {"snapshot_path": "/state", "mem_backend": backend, "resume_vm": False})
        api.ask("PATCH", f"/drives/{machine.TMP}", {"drive_id": machine.TMP, "path_on_host": f"/{machine.TMP}"})
        api.ask("PATCH", "/vm", {"state": "Resumed"})
        timeout_factor = host.first_try.timeout_s
        while True:
            try:
                control = _connect(root / machine.VSOCK, machine.PORT, timeout_factor)
                if control.recv(9)[4:5] == b"H":
                    break
                control.close()
            except TimeoutError:
                timeout_factor *= 2
            except OSError:
                time.sleep(0.001)
        _identify(control)
        _mount_tmp(control, os.stat(root / machine.TMP).st_size)
        for port in (1, 2):
            _connect(root / machine.VSOCK, machine.PORT + port, 20.0).close()
        took = time.monotonic() - began
        control.close()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        shutil.rmtree(base, ignore_errors=True)
    return spawned, took


class _Api(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        for _ in range(10_000):
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(path))
                return
            except OSError:
                self.sock.close()
                time.sleep(0.001)
        raise TimeoutError(path)

    def ask(self, method: str, path: str, body: Any) -> None:
        self.request(method, path, json.dumps(body), {"content-type": "application/json"})
        answer = self.getresponse()
        said = answer.read()
        if answer.status != 204:
            raise RuntimeError(f"{method} {path}: {said!r}")


def _connect(path: Path, port: int, timeout_s: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout_s)
    try:
        sock.connect(str(path))
        sock.sendall(b"CONNECT %d\n" % port)
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := sock.recv(1)):
                raise ConnectionResetError
            line += byte
    except BaseException:
        sock.close()
        raise
    return sock


def _ask_agent(control: socket.socket, type: bytes, body: bytes) -> None:
    control.settimeout(60)
    control.sendall(struct.pack("<IB", len(body) + 1, type[0]) + body)
    answer = b""
    while len(answer) < 9:
        answer += control.recv(9 - len(answer))
    if answer[4:5] != type.lower() or answer[5:] != bytes(4):
        raise RuntimeError(f"the agent answered {answer!r}")


def _identify(control: socket.socket) -> None:
    name = b"by-hand"
    entropy = os.urandom(64)
    body = struct.pack("<QH", time.time_ns(), len(entropy)) + entropy + bytes(12) + struct.pack("<I", len(name)) + name
    _ask_agent(control, b"V", body)


def _mount_tmp(control: socket.socket, size: int) -> None:
    strings = b"".join(struct.pack("<I", len(each)) + each for each in (b"ext4", b"/tmp"))
    _ask_agent(control, b"D", b"d" + struct.pack("<BQ", 1, size) + strings)


if __name__ == "__main__":
    raise SystemExit(main())
