"""Nothing goes that was not long seen unused, and nothing is gone for good before it lay in the trash for long."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from hanabi.base.health import Health
from hanabi.images.collector import PERIOD_S, Collector
from hanabi.images.identity import DOCUMENT, FILE, Identity, identify
from hanabi.images.trash import STEP_S, TRASH_S, UNUSED_S, Trash
from hanabi.store.sqlite import SqliteStore
from hanabi.testing import ManualClock
from tests.unit.images.aging import pass_time

HOUR_S = 3600.0


def thing(directory: Path, name: str = "thing") -> Path:
    path = directory / name
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_text(name)
    return path


async def age(clock: ManualClock, seconds: float, trash: Trash, path: Path) -> bool:
    """Time passes while `path` is unused; whether it is in the trash, or gone, then."""

    async def collect() -> None:
        look_once(trash, path)

    await pass_time(clock, seconds, collect)
    return path.name not in os.listdir(path.parent)


def look_once(trash: Trash, path: Path) -> bool:
    """As a collector does; whether it was thrown away now."""
    if due := path.exists() and trash.is_due(path.name):
        trash.discard(path)
    trash.empty()
    return due


async def test_a_day_unused_then_a_week_in_the_trash(tmp_path: Path) -> None:
    clock, path = ManualClock(), thing(tmp_path)
    assert not await age(clock, UNUSED_S - HOUR_S, Trash(tmp_path, clock), path)
    assert await age(clock, 2 * HOUR_S, Trash(tmp_path, clock), path)  # another one: what was seen is remembered on disk
    kept = tmp_path / "trash" / "thing" / "deep" / "file"
    assert kept.read_text() == "thing" and (tmp_path / "trash").stat().st_mode & 0o077 == 0
    await age(clock, TRASH_S - 2 * HOUR_S, Trash(tmp_path, clock), path)
    assert kept.exists()
    await age(clock, 2 * HOUR_S, Trash(tmp_path, clock), path)
    assert [each.name for each in (tmp_path / "trash").iterdir()] == ["since"]
    assert list((tmp_path / "trash" / "since").iterdir()) == [] == list((tmp_path / "unused").iterdir())


async def test_what_is_used_in_between_begins_anew(tmp_path: Path) -> None:
    clock, path = ManualClock(), thing(tmp_path)
    trash = Trash(tmp_path, clock)
    for _ in range(3):
        assert not await age(clock, UNUSED_S - HOUR_S, trash, path)
        trash.mark_used("thing")


async def test_a_clock_that_jumps_and_a_server_that_was_off_age_nothing(tmp_path: Path) -> None:
    clock, path = ManualClock(), thing(tmp_path)
    trash, year_s = Trash(tmp_path, clock), 365 * UNUSED_S

    async def jump(seconds: float) -> bool:
        await clock.advance(seconds)
        return look_once(trash, path)

    assert not await jump(0) and not await jump(50 * year_s)
    clock._epoch -= 60 * year_s
    assert not await jump(0) and not await jump(0)
    assert [await jump(year_s) for _ in range(3)] == [False, False, True] and UNUSED_S == 4 * STEP_S
    await jump(50 * year_s)
    assert (tmp_path / "trash" / "thing").is_dir()


def test_damaged_notes_begin_anew(tmp_path: Path) -> None:
    trash = Trash(tmp_path, ManualClock())
    trash.is_due("thing")
    for damage in (b"", b"x y", b"nan nan", b"inf 1", b"1e999 0", b"\xff" * 100, b"1 2 3"):
        (tmp_path / "unused" / "thing").write_bytes(damage)
        assert not trash.is_due("thing"), damage


def test_it_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    """What is being removed has another name already; the newest of a name is the one that counts."""
    trash, path = Trash(tmp_path, ManualClock()), thing(tmp_path)
    assert not trash.recover(path) and path.exists()
    trash.discard(path)
    assert trash.recover(path) and (path / "deep" / "file").read_text() == "thing"
    trash.discard(path)
    (thing(tmp_path) / "deep" / "file").write_text("newer")
    trash.discard(path)
    assert trash.recover(path) and (path / "deep" / "file").read_text() == "newer" and not trash.recover(path)
    left = tmp_path / "trash" / "doomed-1"
    thing(left, "half")
    trash.empty()
    assert not left.exists()


# --- whose state this is ----------------------------------------------------------------------------------------------


async def look(data: Path, *, functions: int = 0, keeps: bool = True) -> Identity:
    store = SqliteStore(data / "state.db")
    await store.open()
    try:
        identity = await identify(store, data, keeps)
        for number in range(functions):
            await store.put(f"functions/f{number}", {})
        return identity
    finally:
        await store.close()


def forget_state(data: Path) -> None:
    for path in data.glob("state.db*"):
        path.unlink()


async def test_a_new_state_beside_old_code_is_not_believed(tmp_path: Path) -> None:
    """Neither at the first start nor at any later one, until the right one is back, or it is said that nothing else is wanted."""
    first = await look(tmp_path, keeps=False, functions=1)
    assert first.why_incomplete == "" and await look(tmp_path) == first
    kept = (tmp_path / "state.db").read_bytes()
    forget_state(tmp_path)
    for _ in range(3):
        assert "remove" in (await look(tmp_path, functions=1)).why_incomplete
    forget_state(tmp_path)
    (tmp_path / "state.db").write_bytes(kept)
    assert await look(tmp_path) == first
    forget_state(tmp_path)
    assert (await look(tmp_path)).why_incomplete
    (tmp_path / FILE).unlink()
    assert (await look(tmp_path)).why_incomplete == "" == (await look(tmp_path)).why_incomplete


@pytest.mark.parametrize("functions", [0, 1])
async def test_a_data_directory_of_an_older_hanabi(tmp_path: Path, functions: int) -> None:
    """It has no ids: its state is believed if there is anything in it, else not."""

    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    for number in range(functions):
        await store.put(f"functions/f{number}", {})
    assert await store.get(DOCUMENT) is None
    await store.close()
    assert [bool((await look(tmp_path)).why_incomplete) for _ in range(2)] == [not functions] * 2


async def test_a_copy_is_another_owner_and_a_renamed_directory_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = await look(tmp_path / "a", keeps=False)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "a").rename(tmp_path / "b")
    renamed, copied = await look(tmp_path / "b"), await look(tmp_path / "copy")
    assert renamed.owner.id == first.owner.id != copied.owner.id and renamed.why_incomplete == "" == copied.why_incomplete
    (tmp_path / "b" / FILE).write_text("{")
    assert (await look(tmp_path / "b")).why_incomplete == ""


async def test_nothing_is_collected_in_doubt_and_one_failure_stops_nobody() -> None:
    clock, why_incomplete, seen = ManualClock(), ["state.db is new"], list[set[str]]()
    health = Health(clock)

    async def fails(used: set[str]) -> None:
        raise OSError("some other time")

    async def collect(used: set[str]) -> None:
        seen.append(used)

    collection = Collector(clock, health, lambda: why_incomplete[0])
    collection.add(fails, lambda: {"x"})
    collection.add(collect, lambda: {"y"})
    running = asyncio.create_task(collection.run())
    await clock.advance(2 * PERIOD_S)
    assert seen == [] and [problem.text for problem in health.problems] == ["state.db is new"]
    why_incomplete[0] = ""
    await clock.advance(2 * PERIOD_S)
    assert seen == [{"y"}, {"y"}] and health.problems == []
    running.cancel()
