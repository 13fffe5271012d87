"""What a container sees of CPUs and memory: its own, as many as Lambda shows, never more than the host has."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from hanabi.sandbox.oci import machine_view
from hanabi.sandbox.oci.machine_view import CpuAllocator, MachineView
from tests.system.sandbox.rig import Guest, Rig
from tests.waiting import until


@pytest.mark.parametrize(
    ("memory_mb", "vcpus"),
    [(128, 2), (1769, 2), (3008, 2), (3009, 3), (5307, 3), (5308, 4), (7076, 4), (7077, 5), (8845, 5), (8846, 6), (10_240, 6)],
)
def test_as_many_cpus_as_lambda_shows(memory_mb: int, vcpus: int) -> None:
    assert machine_view.vcpus_for(memory_mb) == vcpus
    assert len(CpuAllocator(lambda: range(64)).take(memory_mb)) == vcpus


def test_cpus_are_dealt_in_turn_and_never_twice_to_one() -> None:
    cpus = CpuAllocator(lambda: {8, 9, 10, 11, 12})
    dealt = [cpus.take(128) for _ in range(5)]
    assert dealt[0] == [8, 9] and dealt[2] == [12, 8]
    assert sorted(cpu for each in dealt for cpu in each) == sorted([8, 9, 10, 11, 12] * 2)
    assert sorted(cpus.take(8000)) == [8, 9, 10, 11, 12]


def test_never_more_cpus_than_the_host_has() -> None:
    assert CpuAllocator(lambda: [3]).take(10_240) == [3]
    assert set(CpuAllocator().take(10_240)) <= os.sched_getaffinity(0)


def test_processors_are_numbered_from_nought() -> None:
    one = "processor\t: 7\nmodel name\t: A: b\nphysical id\t: 1\nsiblings\t: 96\ncore id\t\t: 31\ncpu cores\t: 48\napicid\t\t: 63\n"
    one += "flags\t\t: fpu"
    first, second, rest = machine_view.cpuinfo(one, 2).split("\n\n")
    assert rest == ""
    assert first.replace("\t", "").splitlines() == [
        *("processor: 0", "model name: A: b", "physical id: 0", "siblings: 2", "core id: 0", "cpu cores: 2", "apicid: 0", "flags: fpu")
    ]
    assert second.splitlines()[0] == "processor\t: 1" and "core id\t\t: 1" in second


def test_files_are_rewritten_in_place(tmp_path: Path) -> None:
    """A mount shows the file it was made of; one that took its place would not be seen."""
    allowed: set[int] = {0}
    shown = MachineView(tmp_path / "view", CpuAllocator(lambda: allowed))
    shown.open(8000)
    before = {name: path.stat().st_ino for name, path in shown.files.items()}
    long = shown.files["cpuinfo"].read_text()
    allowed = set(range(8))
    shown.resize(8000, lambda: pytest.fail("nothing has changed"))
    assert shown.files["cpuinfo"].read_text() == long
    shown.resize(10_240, lambda: [])
    assert shown.files["cpuinfo"].read_text().count("processor\t") == 6
    shown.resize(128, lambda: [])
    assert {name: path.stat().st_ino for name, path in shown.files.items()} == before
    assert shown.files["cpuinfo"].read_text().count("processor\t") == 2
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in shown.files.values())
    shown.remove()
    assert not (tmp_path / "view").exists()


def _memory_kb(text: str) -> dict[str, int]:
    return {name: int(kb) for name, kb in re.findall(r"^([\w()]+): +(\d+) kB$", text, re.MULTILINE)}


async def _cpus(guest: Guest) -> tuple[str, int, int]:
    """Its affinity, and how many CPUs cpuinfo and stat tell of."""
    status, cpuinfo, stat = [await guest.probe("cat", f"/proc/{name}") for name in ("self/status", "cpuinfo", "stat")]
    affinity = re.search(r"^Cpus_allowed_list:\s*(.*)$", status, re.MULTILINE)
    assert affinity
    return affinity[1], len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)), len(re.findall(r"^cpu\d", stat, re.MULTILINE))


def _allow(rig: Rig, monkeypatch: pytest.MonkeyPatch, cpus: Iterable[int]) -> None:
    assert rig.driver._host is not None
    monkeypatch.setattr(rig.driver._host.cpus, "_allowed", lambda: cpus)


async def test_memory_is_its_own(rig: Rig) -> None:
    async with rig.sandbox(memory_mb=256) as guest:
        memory = _memory_kb(await guest.probe("cat", "/proc/meminfo"))
        assert memory["MemTotal"] == 256 * 1024
        assert 128 * 1024 < memory["MemFree"] <= memory["MemAvailable"] < memory["MemTotal"]
        assert memory["SwapTotal"] == memory["SwapFree"] == 0
        assert len((await guest.probe("cat", "/proc/swaps")).splitlines()) == 1
        assert (await guest.probe("cat", "/proc/loadavg")).startswith("0.00 0.00 0.00 ")
        guest.box.limit(memory_mb=1024, vcpus=1.0)  # a function has taken it from the pool
        assert _memory_kb(await guest.probe("cat", "/proc/meminfo"))["MemTotal"] == 1024 * 1024
        assert await guest.probe("put", "/proc/meminfo") in ("EROFS", "EACCES")
        mounts = [line.split()[4:6] for line in (await guest.probe("cat", "/proc/self/mountinfo")).splitlines()]
        over = {place: options for place, options in mounts if place.removeprefix("/proc/") in {*machine_view.NAMES, *machine_view.SHARED}}
        assert len(over) == 5 and all({"ro", "nosuid", "nodev", "noexec"} <= set(each.split(",")) for each in over.values())


async def test_cpus_are_its_own(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = max(os.sched_getaffinity(0))
    _allow(rig, monkeypatch, [cpu])

    async with rig.sandbox(memory_mb=128) as guest:
        assert await _cpus(guest) == (str(cpu), 1, 1)


async def test_a_larger_function_gets_more_cpus(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what has been running there since it was in the pool."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    _allow(rig, monkeypatch, cpus[:1])

    async with rig.sandbox(memory_mb=128) as guest:
        await guest.start("wait")
        await guest.said("ok")
        waiting = guest.box.group.memory.pids()
        assert len(waiting) == 2 and all(os.sched_getaffinity(pid) == {cpus[0]} for pid in waiting)
        _allow(rig, monkeypatch, cpus)
        guest.box.limit(memory_mb=256, vcpus=1.0)  # as many as before: they stay where they are
        assert all(os.sched_getaffinity(pid) == {cpus[0]} for pid in waiting)
        guest.box.limit(memory_mb=4096, vcpus=2.3)
        assert all(os.sched_getaffinity(pid) == set(cpus) for pid in waiting)
        await guest.box.kill_processes()
        await guest.exits.get()
        assert await _cpus(guest) == (f"{cpus[0]}-{cpus[1]}" if cpus[1] == cpus[0] + 1 else f"{cpus[0]},{cpus[1]}", 2, 2)


async def test_nothing_of_it_is_left(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        assert (rig.run_dir / "views" / guest.box.id).is_dir()
    await until(lambda: not any((rig.run_dir / "views").iterdir()))
