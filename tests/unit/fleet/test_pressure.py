"""What the host's memory is, when it is scarce, and what the fleet does about it."""

import asyncio
import logging
from pathlib import Path

import pytest

from hanabi.errors import SandboxError
from hanabi.fleet.pressure import HostMemory, MemoryReading, Pressure
from hanabi.testing import ManualClock
from tests.unit.fleet.rig import Rig

MEMINFO = "MemTotal:        8192000 kB\nMemFree:          100000 kB\nMemAvailable:    4096000 kB\n"


def host(directory: Path, groups: str, files: dict[str, str], pressure: str | None = None) -> HostMemory:
    """A /proc and a /sys/fs/cgroup."""
    for name, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups, **files}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    if pressure is not None:
        (directory / "proc/pressure").mkdir()
        (directory / "proc/pressure/memory").write_text(pressure)
    return HostMemory(directory / "proc", directory / "sys")


def test_this_host_can_be_read() -> None:
    memory = HostMemory()
    now = memory.read()
    assert 0 < now.available_mb <= now.total_mb == memory.total_mb and 0 < memory.budget_mb < memory.total_mb


def test_a_host_without_bounds(tmp_path: Path) -> None:
    files = {"sys/memory/memory.limit_in_bytes": "9223372036854771712\n", "sys/memory.max": "max\n"}
    memory = host(tmp_path, "4:memory:/\n0::/\n", files)
    assert (memory.read(), memory.budget_mb) == (MemoryReading(8000, 4000), 6400)


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        (
            "0::/system.slice/hanabi.service\n",
            {
                "sys/system.slice/memory.max": "2147483648\n",
                "sys/system.slice/memory.current": "1610612736\n",
                "sys/system.slice/memory.stat": "anon 1\ninactive_file 536870912\n",
                "sys/system.slice/hanabi.service/memory.max": "max\n",
            },
        ),
        (
            "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n",  # as seen within: the group itself is the top
            {
                "sys/memory/memory.limit_in_bytes": "2147483648\n",
                "sys/memory/memory.usage_in_bytes": "1610612736\n",
                "sys/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 536870912\n",
            },
        ),
    ],
)
def test_a_bounded_container_or_service(tmp_path: Path, groups: str, files: dict[str, str]) -> None:
    memory = host(tmp_path, groups, files, "some avg10=12.50 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00\n")
    assert memory.read() == MemoryReading(2048, 1024, 12.5) and memory.budget_mb == 1638


def test_an_episode_has_two_thresholds_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    readings = [(50, 0), (9, 0), (12, 0), (5, 0), (16, 0), (20, 11), (20, 6), (20, 4)]
    answers = iter([MemoryReading(100, available, stalled) for available, stalled in readings])
    pressure = Pressure(lambda: next(answers))
    with caplog.at_level(logging.INFO):
        assert [pressure.sample() for _ in readings] == [False, True, True, True, False, True, True, False]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 2


def test_a_host_with_plenty_of_memory_is_not_short_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks that wait at a limit of their own count as stalled on the whole host: ending idle environments would not help them."""
    readings = iter(
        [MemoryReading(24105, 19490, 40.0), MemoryReading(100, 20, 12.4), MemoryReading(100, 30, 40.0), MemoryReading(100, 9, 0.0)]
    )
    pressure = Pressure(lambda: next(readings))
    with caplog.at_level(logging.WARNING):
        assert [pressure.sample() for _ in range(4)] == [False, True, False, True]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "tasks waited for memory 12 % of the last ten seconds: 20 of 100 MB are available",
        "memory is scarce: 9 of 100 MB are available",
    ]


def test_who_cannot_read_raises_no_alarm() -> None:
    def fails() -> MemoryReading:
        raise OSError(2, "No such file")

    assert not Pressure(fails).sample()


# --- the fleet ----------------------------------------------------------------------------------------------------------


async def test_scarce_memory_takes_the_stock_first_and_then_who_is_idle_one_at_a_time() -> None:
    clock, now = ManualClock(), MemoryReading(100, 50)
    async with Rig(clock=clock, pool_size=2, read_memory=lambda: now) as rig:
        rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
        busy = rig.begin(rig.version("busy", timeout_s=900), b"hang")
        for name in ("old", "new"):
            await rig.invoke(rig.version(name, tmp_mb=1024))
            await clock.advance(1.0, turns=50)
        await clock.advance(1.0, turns=50)
        assert rig.states() == ["busy", "frozen", "frozen", "pooled", "pooled"]
        trimmed = [each for each in rig.driver.alive if "trim" in each.history]
        now = MemoryReading(100, 5)
        left = []
        for _ in range(5):
            await clock.advance(1.0, turns=50)
            left.append((rig.states().count("pooled"), sorted(functions(rig))))
        assert left == [
            (1, ["busy", "new", "old"]),
            (0, ["busy", "new", "old"]),
            (0, ["busy", "new"]),
            (0, ["busy"]),
            (0, ["busy"]),
        ]
        assert not trimmed and rig.fleet.describe_budget()["memory_is_scarce"]
        now = MemoryReading(100, 50)
        await clock.advance(1.0, turns=50)
        assert rig.states() == ["busy", "pooled", "pooled"]
        busy.cancel()


def functions(rig: Rig) -> set[str]:
    return {row["function"] for row in rig.fleet.describe() if row["function"]}


async def test_the_idle_give_memory_back_once_and_at_once_when_it_is_scarce() -> None:
    clock, now = ManualClock(), MemoryReading(100, 50)
    async with Rig(clock=clock, trim_after_s=30.0, read_memory=lambda: now) as rig:
        version, large = rig.version(), rig.version("large", memory_mb=4096)
        await rig.invoke(version)
        history = rig.sandbox.history
        await clock.advance(29.0)
        assert "trim" not in history
        await clock.advance(60.0)
        assert history.count("trim") == 1
        await rig.invoke(version)
        await rig.invoke(large)
        now = MemoryReading(100, 5)
        await clock.advance(1.0)
        assert history.count("trim") == 2 and functions(rig) == {"f"}  # the large one costs more


async def test_one_that_cannot_give_memory_back_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from hanabi.testing.sandbox import FakeSandbox

    async def fails(sandbox: FakeSandbox) -> None:
        raise SandboxError("no balloon")

    monkeypatch.setattr(FakeSandbox, "trim", fails)
    clock = ManualClock()
    async with Rig(clock=clock, trim_after_s=5.0) as rig:
        first = await rig.invoke(rig.version())
        await clock.advance(10.0)
        assert (await rig.invoke(rig.version())).record.environment == first.record.environment


async def test_work_may_arrive_while_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from hanabi.testing.sandbox import FakeSandbox

    async def slow(sandbox: FakeSandbox) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeSandbox, "trim", slow)
    clock = ManualClock()
    async with Rig(clock=clock, trim_after_s=5.0) as rig:
        await rig.invoke(rig.version())
        await clock.advance(10.0)
        assert not (await rig.invoke(rig.version())).function_error
        assert len(rig.driver.sandboxes) == 1
