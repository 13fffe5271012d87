"""The typed calls against Firecracker, as far as it goes without a guest kernel, and against its double, which must do the same."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import hanabi
from hanabi.base.clock import SystemClock
from hanabi.errors import VmmError, VmmUnresponsive
from hanabi.sandbox.firecracker.vmm_api import FirecrackerApi, InstanceInfo, RateLimiter, TokenBucket
from tests.unit.sandbox.firecracker.scripted import FIRECRACKER, on_both


def spawn(which: str, directory: Path) -> "subprocess.Popen[bytes]":
    quiet = subprocess.DEVNULL
    program = [str(FIRECRACKER)] if which == "real" else [sys.executable, "-m", "hanabi.testing.firecracker"]
    command = [*program, "--id", "one", "--api-sock", "api.socket"]
    environment = {**os.environ, "PYTHONPATH": str(Path(hanabi.__file__).parents[1])}
    return subprocess.Popen(command, cwd=directory, stdin=quiet, stdout=quiet, stderr=quiet, env=environment)


@asynccontextmanager
async def vmm(which: str) -> AsyncIterator[tuple[FirecrackerApi, "subprocess.Popen[bytes]", Path]]:
    """One of our own in a directory of its own, and the connected client."""
    directory = Path(tempfile.mkdtemp(prefix="hanabi-api-"))
    process = spawn(which, directory)
    api = FirecrackerApi(directory / "api.socket", clock=SystemClock(), timeout_s=20)
    try:
        await api.connect(30, lambda: process.poll() is None)
        yield api, process, directory
    finally:
        api.close()
        process.kill()
        process.wait()
        shutil.rmtree(directory)


@on_both
@pytest.mark.both_loops
async def test_everything_before_the_start(which: str) -> None:
    async with vmm(which) as (api, _, directory):
        version = await api.version()
        assert version.count(".") == 2
        assert await api.instance_info() == InstanceInfo("one", "Not started", version)
        for name in ("drive", "other", "log", "metrics"):
            (directory / name).write_bytes(bytes(4096))
        await api.logger("log", level="Info")
        await api.metrics("metrics")
        await api.machine_config(vcpu_count=1, mem_size_mib=128)
        limiter = RateLimiter(bandwidth=TokenBucket(size=1 << 20, refill_time=100), ops=TokenBucket(size=100, refill_time=1000))
        await api.drive("root", "drive", is_root_device=True, rate_limiter=limiter)
        await api.drive("task", "other", is_read_only=False)
        await api.vsock(guest_cid=3, uds_path="v.sock")
        await api.entropy(rate_limiter=limiter)
        await api.balloon(amount_mib=0, deflate_on_oom=True, stats_polling_interval_s=1)
        ecx = {"register": "ecx", "bitmap": "0bxxxxx0xx0xxxxxxxxx0xxxxxxxxxxxxx"}
        await api.cpu_config({"cpuid_modifiers": [{"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [ecx]}]})
        config = await api.vm_config()
        assert config["machine-config"]["mem_size_mib"] == 128
        root, task = config["drives"]
        assert root["is_root_device"] and root["is_read_only"] and root["rate_limiter"]["ops"]["size"] == 100
        assert not task["is_read_only"] and task["cache_type"] == "Unsafe"
        assert config["vsock"]["uds_path"] == "v.sock"
        assert config["balloon"]["deflate_on_oom"] is True


@on_both
async def test_refusals_carry_the_fault_message(which: str) -> None:
    async with vmm(which) as (api, _, directory):
        with pytest.raises(VmmError, match="number of vCPUs") as refused:
            await api.machine_config(vcpu_count=0, mem_size_mib=128)
        assert refused.value.status == 400
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "No such file": lambda: api.drive("root", "none"),
            "without kernel": api.start,
            "before starting": api.pause,
            "not supported before": api.flush_metrics,
            "kernel file cannot be opened": lambda: api.boot_source("none", boot_args="quiet"),
            "open target file|.": lambda: api.logger("none/log"),
            "No such file|os error 2": lambda: api.metrics("none/metrics"),
            "unknown field": lambda: api.cpu_config({"nonsense": 1}),
            "string is too long": lambda: api.cpu_config(
                {
                    "cpuid_modifiers": [
                        {"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [{"register": "ecx", "bitmap": "0b" + "x" * 33}]}
                    ]
                }
            ),
        }
        for words, call in calls.items():
            with pytest.raises(VmmError, match=words):
                await call()
        for late in (api.balloon_statistics, lambda: api.patch_drive("root", "x"), lambda: api.patch_balloon(1), api.resume):
            with pytest.raises(VmmError, match="before starting"):
                await late()
        with pytest.raises(VmmError, match="before starting"):
            await api.snapshot_create(snapshot_path="s", mem_file_path="m")
        assert await api.version()  # it is as usable as before


@on_both
async def test_requests_without_waiting_come_back_in_order(which: str) -> None:
    async with vmm(which) as (api, _, _):
        done: list[str] = []
        api.pause_nowait(lambda error: done.append(f"paused: {error}"))
        api.resume_nowait(lambda error: done.append(f"resumed: {error}"))
        await api.version()
        assert [each.split(":")[0] for each in done] == ["paused", "resumed"]
        assert all("before starting" in each for each in done)


@on_both
async def test_a_snapshot_that_is_none(which: str) -> None:
    async with vmm(which) as (api, _, directory):
        (directory / "state").write_bytes(b"no state")
        (directory / "memory").write_bytes(bytes(4096))
        with pytest.raises(VmmError, match="snapshot"):
            await api.snapshot_load(snapshot_path="state", memory_path="memory", resume=True)
    async with vmm(which) as (api, _, directory):
        with pytest.raises(VmmError, match="No such file"):
            await api.snapshot_load(snapshot_path="none", memory_path="none", resume=False, network_overrides=[("eth0", "tap0")])


@on_both
async def test_a_vmm_that_is_killed(which: str) -> None:
    async with vmm(which) as (api, process, _):
        told: list[VmmUnresponsive] = []
        api.on_disconnected(told.append)
        await api.version()
        process.kill()
        process.wait()
        with pytest.raises(VmmUnresponsive):
            await api.version()
        assert not api.connected
        assert len(told) == 1


def idle_kernel() -> bytes:
    """A 64-bit ELF kernel that halts for ever: a guest that runs, and does nothing."""
    code, entry, offset = b"\xf4\xeb\xfd", 0x100000, 0x1000  # hlt; jmp back
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, offset, entry, entry, len(code), len(code), 0x1000)
    return (header + segment).ljust(offset, b"\0") + code


async def start_idle(api: FirecrackerApi, directory: Path) -> None:
    for name, content in {"kernel": idle_kernel(), "one": bytes(4096), "two": bytes(8192), "metrics": b""}.items():
        (directory / name).write_bytes(content)
    await api.metrics("metrics")
    await api.machine_config(vcpu_count=1, mem_size_mib=16)
    await api.boot_source("kernel", boot_args="quiet")
    await api.drive("task", "one")
    await api.balloon(amount_mib=0, deflate_on_oom=True)
    await api.start()


@on_both
async def test_a_guest_that_runs(which: str) -> None:
    async with vmm(which) as (api, _, directory):
        await start_idle(api, directory)
        assert (await api.instance_info()).state == "Running"
        with pytest.raises(VmmError, match="after starting"):
            await api.machine_config(vcpu_count=1, mem_size_mib=32)
        await api.patch_drive("task", "two")
        await api.flush_metrics()
        assert json.loads((directory / "metrics").read_text().splitlines()[-1])["patch_api_requests"]["drive_count"] == 1
        await api.pause()
        assert (await api.instance_info()).state == "Paused"
        await api.resume()
        for states in (("Paused", "Resumed"), ("Resumed", "Paused")):  # back to back: the last one counts
            errors: list[VmmError | None] = []
            for state in states:
                api.send_nowait("PATCH", "/vm", {"state": state}, errors.append)
            info = await api.instance_info()
            assert errors == [None, None]
            assert info.state == states[-1].replace("Resumed", "Running")


@on_both
async def test_a_snapshot(which: str) -> None:
    async with vmm(which) as (api, _, directory), vmm(which) as (clone, _, place):
        await start_idle(api, directory)
        with pytest.raises(VmmError):
            await api.snapshot_create(snapshot_path="state", mem_file_path="memory")  # it runs
        await api.pause()
        await api.snapshot_create(snapshot_path="state", mem_file_path="memory")
        for name in ("state", "memory", "one", "two"):
            os.link(directory / name, place / name)
        assert (place / "memory").stat().st_size == 16 << 20
        await clone.snapshot_load(snapshot_path="state", memory_path="memory", resume=False)
        assert (await clone.instance_info()).state == "Paused"
        await clone.patch_drive("task", "two")
        await clone.resume()
        assert (await clone.instance_info()).state == "Running"


@on_both
async def test_the_fields_are_firecrackers(which: str) -> None:
    """It refuses what it does not know, so a typo here would show; this shows that it does refuse."""

    async with vmm(which) as (api, _, _):
        with pytest.raises(VmmError, match="unknown field `vsock_override`|No such file"):
            await api.snapshot_load(snapshot_path="none", memory_path="none", resume=True, vsock_uds_path="v")
