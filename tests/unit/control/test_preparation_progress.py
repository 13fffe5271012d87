"""What is being done for a function that is not ready yet is in its reason, and nowhere on the disk."""

from pathlib import Path
from typing import Any

from hanabi.control.preparation_progress import LONGEST, PreparationProgress, in_words
from hanabi.images.builders.progress import ProgressCount
from hanabi.testing import ManualClock
from tests.unit.control.support import FakeImages, create_params, open_plane
from tests.waiting import until


async def test_the_reason_says_what_is_done_and_for_how_long(tmp_path: Path) -> None:
    images = FakeImages()
    images.says = ["installing packages of Debian trixie"]
    images.hold()
    async with open_plane(tmp_path, images) as plane:
        function = await plane.deployment.create("f", create_params())
        await until(lambda: bool(images.asked))
        await plane.clock.advance(12)
        shown = plane.preparation.shown(function, function.latest)
        assert shown.state_reason == "The function is being created: installing packages of Debian trixie, 12 s"
        assert shown.state_code == "Creating" and shown.revision_id == function.latest.revision_id
        stored = await plane.store.list("functions/")
        assert "installing" not in str(stored) and "is being created." in str(stored)
        images.release()
        function = await plane.settle()
        assert plane.preparation.shown(function, function.latest).state_reason is None


def test_what_a_builder_says_is_put_in_words_and_bounded() -> None:
    assert in_words(ProgressCount("fetching x", 42, 100, "bytes").encode()) == "fetching x 42 %"
    assert in_words(ProgressCount("fetching x", 42, None, "bytes").encode()) == "fetching x"
    assert in_words(ProgressCount("compiling", 7, None, "files").encode()) == "compiling 7 files"
    preparations = PreparationProgress(ManualClock())
    hear = preparations.listen("g")
    hear("x" * 10_000)
    function: Any = type("F", (), {"latest": type("V", (), {"generation": "g"})})
    assert len(preparations._said["g"]) == LONGEST
    preparations.end("g")
    hear("too late")  # whoever built it may still speak
    version: Any = object()
    assert preparations.show(function, version) is version
