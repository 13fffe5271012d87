"""Hibernated environments, and those that begin as clones of a function's snapshot."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.sandbox import SandboxSpec
from hanabi.errors import SandboxError, SnapshotFailed, SnapshotImpossible, SnapshotUnusable, SnapStartFailure, SnapStartTimeout
from hanabi.fleet.snapshots import Snapshots
from hanabi.images.trash import UNUSED_S
from hanabi.testing import ManualClock
from hanabi.testing.sandbox import FakeProcess, echo, silent
from tests.unit.fleet.rig import Rig, on_runtime_api
from tests.unit.images.aging import pass_time
from tests.waiting import until

REST_S = 100.0


async def go_on(process: FakeProcess) -> int | None:
    """What was at rest: it waits for its next invocation, and does not say so again."""
    while True:
        kind, body = await process.read()
        if kind == "n":
            await process.answer(process.payload(body))


async def rest_all(rig: Rig, clock: ManualClock) -> None:
    await clock.advance(REST_S + 1)
    await until(lambda: rig.states() and set(rig.states()) == {"hibernated"} and rig.fleet.describe_budget()["environments"] == 0)


def hibernation(tmp_path: Path, bootstrap: Any = echo, **options: Any) -> tuple[Rig, ManualClock]:
    clock = ManualClock()
    settings = {
        "hibernate_to": tmp_path / "hibernated",
        "hibernate_after_s": REST_S,
        "idle_timeout_s": 1000.0,
        "trim_after_s": 5000.0,
        **options,
    }
    rig = Rig(bootstrap, clock=clock, **settings)
    rig.driver.clone = go_on
    return rig, clock


async def test_what_is_idle_for_long_rests_and_goes_on_where_it_was(tmp_path: Path) -> None:
    rig, clock = hibernation(tmp_path)
    async with rig:
        version = rig.version()
        first = await rig.invoke(version)
        assert first.record.init_ms is not None
        await rest_all(rig, clock)
        (row,) = rig.fleet.describe()
        assert (row["function"], row["memory_mb"], row["invocations"]) == ("f", 0, 1)
        assert not rig.driver.alive and len(rig.keys.issued) == 1
        before, said = rig.keys.issued.copy(), len(rig.journal.events)
        second = await rig.invoke(version, b'"again"')
        assert (second.payload, second.record.init_ms, second.function_error) == (b'"again"', None, None)
        assert rig.keys.issued == before
        assert not any("INIT_START" in text for _, text in rig.journal.events[said:])
        (row,) = rig.fleet.describe()
        assert (row["state"], row["invocations"]) in (("idle", 2), ("frozen", 2))
        await until(lambda: list((tmp_path / "hibernated").iterdir()) == [])
        await rest_all(rig, clock)  # and again
        assert (await rig.invoke(version)).function_error is None


async def test_a_custom_runtime_asks_again_when_it_is_revived(tmp_path: Path) -> None:
    rig, clock = hibernation(tmp_path, on_runtime_api)
    rig.driver.clone = on_runtime_api  # the agent repeats the question that was open
    async with rig:
        version = rig.version(runtime="provided.al2023")
        await rig.invoke(version)
        await rest_all(rig, clock)
        assert (await rig.invoke(version, b'"again"')).payload == b'"again"'


@pytest.mark.parametrize("fault", ["no snapshot", "no sandbox", "silent"])
async def test_what_cannot_be_revived_is_started_anew(tmp_path: Path, fault: str) -> None:
    async def exits(process: FakeProcess) -> int | None:
        return 1

    rig, clock = hibernation(tmp_path)
    async with rig:
        version = rig.version()
        await rig.invoke(version)
        await rest_all(rig, clock)
        if fault == "no snapshot":
            next((tmp_path / "hibernated").glob("*/snapshot")).unlink()
        elif fault == "no sandbox":
            rig.driver.create_errors.append(SandboxError("no room"))
        else:
            rig.driver.clone = exits
        answers = [await rig.invoke(version) for _ in range(2)]
        assert answers[-1].function_error is None
        assert [row["state"] for row in rig.fleet.describe() if row["state"] == "hibernated"] == []
        await until(lambda: len(rig.keys.issued) == 1)


@pytest.mark.parametrize("way", ["retired", "timeout", "closed"])
async def test_what_rests_goes_in_the_end(tmp_path: Path, way: str) -> None:
    rig, clock = hibernation(tmp_path)
    async with rig:
        await rig.invoke(rig.version())
        await rest_all(rig, clock)
        if way == "retired":
            rig.fleet.retire("f")
        elif way == "timeout":
            await clock.advance(1000.0)
        if way != "closed":
            await until(lambda: rig.states() == [] and not rig.keys.issued)
    await until(lambda: list((tmp_path / "hibernated").iterdir()) == [])


async def test_provisioned_concurrency_leaves_what_rests_alone(tmp_path: Path) -> None:
    rig, clock = hibernation(tmp_path)
    async with rig:
        version = rig.version()
        await rig.invoke(version)
        await rest_all(rig, clock)
        rig.fleet.provision(version, 1)
        await until(lambda: rig.fleet.allocation("f").allocated == 1)
        assert sorted(row["type"] for row in rig.fleet.describe()) == ["on-demand", "provisioned"]
        assert "hibernated" in rig.states()


async def test_one_that_cannot_be_written_ends(tmp_path: Path) -> None:
    rig, clock = hibernation(tmp_path)
    async with rig:
        await rig.invoke(rig.version())
        rig.driver.snapshot_errors.append(SandboxError("the disk is full"))
        await clock.advance(REST_S + 1)
        await until(lambda: rig.states() == [] and not rig.driver.alive and not rig.keys.issued)
        await until(lambda: list((tmp_path / "hibernated").iterdir()) == [])
        assert (await rig.invoke(rig.version())).function_error is None


async def test_a_disk_that_is_nearly_full_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanabi.fleet.hibernation.FREE_DISK_BYTES", 1 << 60)

    rig, clock = hibernation(tmp_path)
    async with rig:
        await rig.invoke(rig.version())
        await clock.advance(REST_S + 1)
        await asyncio.sleep(0.05)
        assert set(rig.states()) <= {"idle", "frozen"} and not (tmp_path / "hibernated").exists()


async def test_without_snapshots_nothing_rests(tmp_path: Path) -> None:
    clock = ManualClock()
    async with Rig(echo, clock=clock, hibernate_after_s=REST_S, trim_after_s=5000.0) as rig:
        await rig.invoke(rig.version())
        await clock.advance(REST_S + 1)
        await asyncio.sleep(0.05)
        assert set(rig.states()) <= {"idle", "frozen"}


# --- SnapStart


async def dormant(process: FakeProcess) -> int | None:
    """Its hooks have run: it waits to be restored."""
    assert (await process.read())[0] == "i"
    await process.write("l")
    await asyncio.Event().wait()
    return None


async def wakes(process: FakeProcess) -> int | None:
    kind, body = await process.read()
    environment = json.loads(body)["environment"]
    assert kind == "a" and environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start" and "AWS_ACCESS_KEY_ID" not in environment
    await process.write("r")
    return await go_on(process)


async def hook_fails(process: FakeProcess) -> int | None:
    await process.read()
    await process.write("e", b'{"errorType":"Runtime.AfterRestoreError","errorMessage":"no"}')
    return 1


async def hook_hangs(process: FakeProcess) -> int | None:
    await asyncio.Event().wait()
    return None


def snapstart(tmp_path: Path, bootstrap: Any = dormant) -> tuple[Rig, Snapshots]:
    rig = Rig(bootstrap, hibernate_to=tmp_path / "hibernated")
    rig.driver.clone = wakes
    return rig, Snapshots(tmp_path / "snapshots", rig.fleet, "")


async def test_a_snapshot_of_another_host_is_to_be_made_again(tmp_path: Path) -> None:
    """The version starts without it meanwhile."""

    rig, snapshots = snapstart(tmp_path)
    async with rig:
        version = rig.version(version="1")
        name = await snapshots.take(version)
        assert await snapshots.find_missing({name}) == set()
        create = rig.driver.create

        async def unusable(spec: SandboxSpec) -> Any:
            if spec.snapshot is not None:
                raise SnapshotUnusable("it was made with another processor")
            return await create(spec)

        rig.driver.create, rig.driver.bootstrap = unusable, echo  # type: ignore[method-assign]
        result = await rig.invoke(rig.version(version="1", snapshot=tmp_path / "snapshots" / name))
        assert result.function_error is None and result.record.restore is None
        assert await snapshots.find_missing({name, "0" * 32}) == {name, "0" * 32}
        rig.driver.bootstrap = dormant
        assert await snapshots.take(version) == name and await snapshots.find_missing({name}) == set()


async def test_a_cold_start_is_a_clone_of_the_versions_snapshot(tmp_path: Path) -> None:
    rig, snapshots = snapstart(tmp_path)
    async with rig:
        version = rig.version(version="1")
        name = await snapshots.take(version)
        assert (tmp_path / "snapshots" / name / "snapshot").exists() and (tmp_path / "snapshots").stat().st_mode & 0o777 == 0o700
        assert rig.states() == [] and any(line.startswith("INIT_REPORT Init Duration: ") for line in rig.journal.lines)
        restored = rig.version(version="1", snapshot=tmp_path / "snapshots" / name)
        result = await rig.invoke(restored)
        assert result.function_error is None and result.record.init_ms is None
        assert result.record.restore is not None and result.record.restore[0] >= result.record.restore[1] > 0
        report = next(line for line in rig.journal.lines if line.startswith("REPORT"))
        assert "\tRestore Duration: " in report and "\tBilled Restore Duration: " in report
        assert any(line.startswith("RESTORE_START Runtime Version: python:3.11") for line in rig.journal.lines)
        assert (await rig.invoke(restored)).record.restore is None  # it is warm
        await snapshots.collect(set())  # it has not been seen in use yet
        clock = ManualClock()
        later = Snapshots(tmp_path / "snapshots", rig.fleet, "", clock)
        await pass_time(clock, UNUSED_S - 60, lambda: later.collect(set()))
        assert (tmp_path / "snapshots" / name).exists()
        await pass_time(clock, 60, lambda: later.collect(set()))
        kept = tmp_path / "snapshots" / "trash"
        assert not (tmp_path / "snapshots" / name).exists() and (kept / name / "snapshot").exists()
        assert kept.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("pool_size", [0, 1])
async def test_where_processes_are_copied_a_sandbox_of_the_pool_gets_one(tmp_path: Path, pool_size: int) -> None:
    rig = Rig(dormant, pool_size=pool_size)
    rig.driver.copies_processes, rig.driver.clone = True, wakes
    snapshots = Snapshots(tmp_path / "snapshots", rig.fleet, "")
    async with rig:
        name = await snapshots.take(rig.version(version="1"))
        if pool_size:
            rig.driver.bootstrap = silent
            rig.fleet.keep_pool_for(await rig.ensure_image("python3.11"))
            await until(lambda: len(rig.environments.pool) == 1)
        result = await rig.invoke(rig.version(version="1", snapshot=tmp_path / "snapshots" / name))
        assert result.function_error is None and result.record.restore is not None
        assert [row["type"] for row in rig.fleet.describe() if row["function"]] == ["snap-start"]
        history = next(each.history for each in rig.driver.alive if "restore_process" in each.history)
        steps = [each for each in history if each.split()[0] in ("start", "reset", "mount", "restore_process")]
        assert steps == [*(["start runtime", "reset"] if pool_size else []), "mount /var/task", "restore_process"]


async def test_a_snapshot_of_a_process_is_tried_before_it_counts(tmp_path: Path) -> None:
    rig = Rig(dormant)
    rig.driver.copies_processes = True
    snapshots = Snapshots(tmp_path / "snapshots", rig.fleet, "")
    async with rig:
        rig.driver.restore_errors.append(SnapshotUnusable("its process cannot be copied from it"))
        with pytest.raises(SnapshotImpossible, match="no copy of its process"):
            await snapshots.take(rig.version(version="1"))
        assert list((tmp_path / "snapshots").iterdir()) == []
        rig.driver.restore_errors.append(SandboxError("the host is full"))
        await snapshots.take(rig.version(version="1"))
        await until(lambda: rig.states() == [])
        assert [each.history.count("restore_process") for each in rig.driver.sandboxes] == [0, 1, 0, 1]


async def test_a_copy_that_cannot_be_made_is_done_without_and_the_snapshot_made_again(tmp_path: Path) -> None:
    rig = Rig(dormant)
    rig.driver.copies_processes = True
    snapshots = Snapshots(tmp_path / "snapshots", rig.fleet, "")
    async with rig:
        name = await snapshots.take(rig.version(version="1"))
        rig.driver.restore_errors.append(SnapshotUnusable("it was made before this host was last started"))
        rig.driver.bootstrap = echo
        result = await rig.invoke(rig.version(version="1", snapshot=tmp_path / "snapshots" / name))
        assert result.function_error is None and result.record.restore is None and result.record.init_ms is not None
        assert await snapshots.find_missing({name}) == {name}
        assert len(rig.states()) == 1  # the sandbox that has no copy has gone


@pytest.mark.parametrize(
    ("clone", "error", "word"),
    [(hook_fails, SnapStartFailure, "Runtime.AfterRestoreError"), (hook_hangs, SnapStartTimeout, "Status: timeout")],
    ids=["fails", "hangs"],
)
async def test_a_hook_after_the_restore_that_does_not_end_well(
    tmp_path: Path, clone: Any, error: type[Exception], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hanabi.fleet.restores.RESTORE_TIMEOUT_S", 0.3)

    rig, snapshots = snapstart(tmp_path)
    async with rig:
        name = await snapshots.take(rig.version(version="1"))
        rig.driver.clone = clone
        with pytest.raises(error):
            await rig.invoke(rig.version(version="1", snapshot=tmp_path / "snapshots" / name))
        assert any(line.startswith("RESTORE_REPORT Restore Duration: ") and word in line for line in rig.journal.lines)


async def test_a_snapshot_that_is_gone_is_done_without(tmp_path: Path) -> None:
    rig, _ = snapstart(tmp_path, echo)
    async with rig:
        result = await rig.invoke(rig.version(version="1", snapshot=tmp_path / "nowhere"))
        assert result.function_error is None and result.record.init_ms is not None


async def fails_before(process: FakeProcess) -> int | None:
    await process.read()
    await process.write("e", b'{"errorType":"Runtime.BeforeSnapshotError","errorMessage":"no"}')
    return 1


async def test_an_init_that_fails_makes_no_snapshot(tmp_path: Path) -> None:
    rig, snapshots = snapstart(tmp_path, fails_before)
    async with rig:
        with pytest.raises(SnapshotFailed, match="Runtime.BeforeSnapshotError") as caught:
            await snapshots.take(rig.version(version="1"))
        assert caught.value.code == "FunctionError.RuntimeInitError"
        rig.driver.bootstrap = dormant
        rig.driver.snapshot_errors.append(SandboxError("the disk is full"))
        with pytest.raises(SandboxError):
            await snapshots.take(rig.version(version="1"))
        assert list((tmp_path / "snapshots").iterdir()) == [] and rig.states() == []
