"""The physics of a sandbox: memory, CPU share, processes, descriptors, /tmp, freezing."""

import asyncio
import os
import re
import time
from pathlib import Path

import pytest

from hanabi.contracts.sandbox import Exit
from hanabi.errors import SandboxError
from hanabi.sandbox.host.controllers import Cache, CpuV1, CpuV2, MemoryV2
from tests.system.sandbox.rig import Rig
from tests.waiting import until

MB = 1024 * 1024
VCPU_MB = 1769


async def test_too_much_memory_is_killed_and_the_agent_lives(rig: Rig) -> None:
    async with rig.sandbox(memory_mb=128) as guest:
        started = time.monotonic()
        exit, said = await guest.outcome("alloc", "300")
        assert time.monotonic() - started < 1
        assert exit == Exit("runtime", None, 9) and said == ""
        assert guest.box.oom_kills() == 1
        assert guest.box.peak_memory() >= 120 * MB
        assert await guest.probe("alloc", "80") == "ok 80"


async def test_peak_memory_can_be_reset(rig: Rig) -> None:
    kernel = tuple(int(number) for number in re.findall(r"[0-9]+", os.uname().release)[:2])
    if rig.driver.tree.version("memory") == 2 and kernel < (6, 12):
        pytest.skip("cgroup v2 can reset memory.peak since Linux 6.12; until then it is the peak of the sandbox's life")

    async with rig.sandbox(memory_mb=256) as guest:
        await guest.probe("alloc", "100")
        assert 100 * MB <= guest.box.peak_memory() < 140 * MB
        guest.box.reset_peak()
        assert guest.box.peak_memory() < 50 * MB
        await guest.probe("alloc", "60")
        assert 60 * MB <= guest.box.peak_memory() < 100 * MB


async def test_the_memory_cap_can_be_raised_and_lowered(rig: Rig) -> None:
    async with rig.sandbox(memory_mb=128) as guest:
        guest.box.limit(memory_mb=512, vcpus=None)
        assert await guest.probe("alloc", "300") == "ok 300"
        guest.box.limit(memory_mb=128, vcpus=None)
        assert (await guest.outcome("alloc", "300"))[0] == Exit("runtime", None, 9)


async def test_memory_is_given_back_while_frozen(rig: Rig) -> None:
    async with rig.sandbox(memory_mb=256, tmp_mb=64) as guest:
        await guest.probe("alloc", "50")
        guest.box.freeze()
        await until(guest.box.group.freezer.frozen)
        await guest.box.trim()
        assert guest.box.group.freezer.frozen()
        guest.box.thaw()
        await guest.box.trim()
        assert await guest.probe("alloc", "50") == "ok 50"
    with pytest.raises(SandboxError):
        await guest.box.trim()


def test_reclaim_asks_for_all_there_is(tmp_path: Path) -> None:
    """As on cgroup v2, whether this host has it or not: what the kernel then does is its own."""
    for name, text in {
        "memory.events": "oom_kill 0\n",
        "memory.stat": "anon 1\nfile 9000\nkernel 3\nshmem 2000\nfile_mapped 4000\n",
        "memory.peak": "20000\n",
        "cgroup.procs": "12\n34\n",
        "memory.current": "12345\n",
        "memory.reclaim": "",
        "memory.swap.max": "max",
    }.items():
        (tmp_path / name).write_text(text)
    memory = MemoryV2(tmp_path)
    assert (memory.cache(), memory.pids()) == (Cache(mapped=4000, unmapped=3000), [12, 34])
    memory.reclaim()
    assert (tmp_path / "memory.reclaim").read_text() == "12345"
    (tmp_path / "memory.reclaim").unlink()  # a kernel that has none
    memory.reclaim()
    memory.close()


@pytest.mark.parametrize("memory_mb", [256, 884, VCPU_MB])
async def test_cpu_share_follows_memory(rig: Rig, memory_mb: int) -> None:
    async def work() -> None:
        async with rig.sandbox(memory_mb=memory_mb) as guest:
            share = memory_mb / VCPU_MB
            guest.box.limit(memory_mb=memory_mb, vcpus=share)
            for _ in range(5):  # a busy machine may not have the share to give: it must in one of five seconds
                wall, used = time.monotonic(), guest.box.cpu_usage()
                await guest.probe("spin", "1000")
                measured = (guest.box.cpu_usage() - used) / 1e6 / (time.monotonic() - wall)
                assert measured < share * 1.15
                if measured > share * 0.85:
                    return
            raise AssertionError(f"got {measured:.3f} of a vCPU, not {share:.3f}")

    await work()


async def test_one_in_the_background_yields_the_cpu_until_it_is_limited(rig: Rig) -> None:
    async with rig.sandbox(background=True) as guest:
        idle = rig.driver.tree.directory("cpu") / guest.box.id / "cpu.idle"
        if not idle.exists():
            pytest.skip("cgroups have cpu.idle since Linux 5.15")
        assert idle.read_text() == "1\n"
        guest.box.limit(memory_mb=128, vcpus=1.0)
        assert idle.read_text() == "0\n"
        assert await guest.probe("alloc", "10") == "ok 10"


@pytest.mark.parametrize(("version", "file", "least", "usual"), [(CpuV1, "cpu.shares", "2", "1024"), (CpuV2, "cpu.weight", "1", "100")])
def test_where_no_cgroup_is_idle_it_has_the_least_weight(
    version: type[CpuV1] | type[CpuV2], file: str, least: str, usual: str, tmp_path: Path
) -> None:
    for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", file):
        (tmp_path / name).write_text("")
    cpu = version(tmp_path)
    cpu.yield_to_others(True)
    assert (tmp_path / file).read_text() == least
    cpu.yield_to_others(False)
    assert (tmp_path / file).read_text() == usual
    cpu.close()


async def test_processes_are_counted(rig: Rig) -> None:
    async with rig.sandbox(memory_mb=512) as guest:
        count, error = (await guest.probe("forks", "5000")).split()
        assert error == "EAGAIN" and 1000 <= int(count) < 1024
        await guest.box.kill_processes()
        assert await guest.probe("forks", "5") == "5 ok"


async def test_descriptors_are_counted(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        assert await guest.probe("fds") == "1023 EMFILE"  # the highest number


async def test_a_full_tmp_says_so(rig: Rig) -> None:
    async with rig.sandbox(tmp_mb=16) as guest:
        written, error = (await guest.probe("fill", "/tmp/full", "100")).split()
        assert error == "ENOSPC" and 16 <= int(written) < 24


async def test_tmp_may_be_larger_than_memory(rig: Rig) -> None:
    async with rig.sandbox(memory_mb=128, tmp_mb=512) as guest:
        guest.box.limit(memory_mb=128, vcpus=1)
        assert await guest.probe("fill", "/tmp/large", "512") == "512 ok"
        assert guest.box.oom_kills() == 0


async def test_a_frozen_sandbox_does_nothing(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        await guest.start("spin", "60000")
        before = guest.box.cpu_usage()
        await until(lambda: guest.box.cpu_usage() > before + 20_000)
        guest.box.freeze()
        await until(guest.box.group.freezer.frozen)
        frozen = guest.box.cpu_usage()
        await asyncio.sleep(0.2)
        assert guest.box.cpu_usage() - frozen < 1000
        guest.box.thaw()
        await until(lambda: guest.box.cpu_usage() > frozen + 20_000)


async def test_freezing_and_thawing_take_one_write(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        await guest.start("wait")
        await guest.said("ok")
        taken = []
        for _ in range(50):
            started = time.perf_counter()
            guest.box.freeze()
            guest.box.thaw()
            taken.append(time.perf_counter() - started)
        assert sorted(taken)[25] < 0.001
