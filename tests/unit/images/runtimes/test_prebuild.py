"""Roots are built before anybody wants them: only what is missing, one by one, giving way to others. And what overlaps in a build."""

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from hanabi.errors import ImageError
from hanabi.images.builders import programs
from hanabi.images.builders.worker import LOW
from hanabi.images.paths import describe, root_path
from hanabi.images.runtimes import builder
from hanabi.images.runtimes.prebuild import COMMON, prebuild
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.node.config import guest_dir
from tests.conftest import needs_root
from tests.system.images.test_roots import fake_mmdebstrap
from tests.waiting import until


async def test_what_is_missing_is_built_in_order_and_what_fails_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    built = root_path(tmp_path, "nodejs22.x")
    built.mkdir(parents=True)
    describe(built, size=1)
    images, asked, under_way = RuntimeImages(tmp_path, guest_dir()), list[str](), 0

    async def ensure(runtime: str, progress: Any = None, *, urgent: bool = True) -> None:
        nonlocal under_way
        assert not urgent and not under_way
        under_way += 1
        await asyncio.sleep(0)
        under_way -= 1
        asked.append(runtime)
        raise ImageError("no mirror\nanswers")

    images.ensure = ensure  # type: ignore[method-assign, assignment]
    with caplog.at_level(logging.INFO):
        await prebuild(images, ["provided.al2023", "no.such", "python3.13"])
    assert asked == ["provided.al2023", "python3.13"] and set(COMMON) == {"python3.13", "nodejs22.x"}
    assert "the runtime root of python3.13 could not be built ahead: no mirror answers" in caplog.text
    assert "--no-prebuild" in caplog.text


@needs_root
async def test_a_build_ahead_gives_way_until_somebody_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mmdebstrap(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 300", monkeypatch)

    images = RuntimeImages(tmp_path / "images", guest_dir())
    first = asyncio.create_task(images.ensure("provided.al2023", urgent=False))
    started = tmp_path / "pid"
    pid = int(await until(lambda: started.read_text().strip() if started.exists() else ""))
    assert os.getpriority(os.PRIO_PROCESS, pid) == LOW
    said = list[str]()
    second = asyncio.create_task(images.ensure("provided.al2023", said.append))
    await asyncio.sleep(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 0
    assert said == ["installing packages of Debian bookworm"]  # what goes on already
    await images.close()
    await asyncio.gather(first, second, return_exceptions=True)


def test_the_sdk_is_fetched_while_the_base_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = tmp_path / "fetched"
    wait = f"for try in $(seq 300); do [ -e {fetched} ] && {{ echo overlapped >&2; exit 1; }}; sleep 0.1; done; echo alone >&2; exit 1"
    fake_mmdebstrap(tmp_path, wait, monkeypatch)
    monkeypatch.setattr(programs, "SEARCHED", os.environ["PATH"])

    def fetch(*_: Any) -> Path:
        fetched.touch()
        return fetched

    for name in ("fetch_sdk", "fetch_node"):
        monkeypatch.setattr(builder, name, fetch)
    with pytest.raises(ImageError, match="overlapped"):
        builder.Builder(tmp_path / "images", print).build("nodejs22.x")
    assert not list((tmp_path / "images/building").iterdir())


def test_a_build_that_fails_ends_what_is_fetched_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And begins nothing else of it: whoever waits hears of it at once."""
    begun, later = tmp_path / "begun", tmp_path / "later"
    fake_mmdebstrap(tmp_path, f"until [ -e {begun} ]; do sleep 0.05; done; echo no mirror >&2; exit 1", monkeypatch)
    monkeypatch.setattr(programs, "SEARCHED", os.environ["PATH"])

    def fetch(work: Path, lock: int) -> Path:
        with contextlib.suppress(ImageError):
            programs.run(["sh", "-c", f"touch {begun}; exec sleep 300"], lock=lock)
        programs.run(["touch", later], lock=lock)
        return work

    monkeypatch.setattr(builder, "fetch_sdk", fetch)
    with pytest.raises(ImageError, match="no mirror"):
        builder.Builder(tmp_path / "images", print).build("aws-sdk-js")
    assert begun.exists() and not later.exists()
    assert not programs._running and not programs._ended
    assert not list((tmp_path / "images/building").iterdir())
