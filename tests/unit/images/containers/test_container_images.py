"""The server's view of container images: shared pulls, names, owners, and what is removed when."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hanabi.environment.extension_processes import find_extensions
from hanabi.errors import ImageError
from hanabi.images.containers import container_images, paths
from hanabi.images.containers.container_images import ENVIRONMENT, ContainerImages, add
from hanabi.images.identity import FILE, ImageOwner
from hanabi.images.trash import UNUSED_S
from hanabi.testing import ManualClock
from tests.unit.images.aging import pass_time
from tests.unit.images.layouts import Image, file, layer, write_layout
from tests.unit.images.registries import Liar, liar
from tests.waiting import until


class Scene:
    """An images directory, and servers that share it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.images = directory / "images"
        self.clock = ManualClock()
        self._open: list[ContainerImages] = []

    async def server(self, name: str = "one") -> ContainerImages:
        owner = ImageOwner(name, self.directory / name)
        owner.directory.mkdir(exist_ok=True)
        (owner.directory / FILE).write_text(json.dumps({"id": name}))
        server = ContainerImages(self.images, owner, clock=self.clock)
        await server.open()
        self._open.append(server)
        return server

    async def age(self, *what: tuple[ContainerImages, set[str]], seconds: float = UNUSED_S) -> None:
        """Time passes in which these servers use these images."""

        async def collect() -> None:
            for server, used in what:
                await server.collect(used)

        await pass_time(self.clock, seconds, collect)

    async def close(self) -> None:
        for server in self._open:
            await server.close()

    def layout(self, *texts: str) -> str:
        """An OCI layout with images under these tags."""
        made = {text: Image([layer([file("base", "b")]), layer([file("app", text)])], {"Env": ["PATH=/app", "A=1"]}) for text in texts}
        return f"oci:{write_layout(self.directory / 'layout', made)}"

    def kept(self) -> set[str]:
        return {path.name for path in (self.images / "containers").iterdir() if path.name != "refs"}

    def blobs(self) -> int:
        return len(list((self.images / "blobs/sha256").iterdir()))


@asynccontextmanager
async def run(directory: Path) -> AsyncIterator[Scene]:
    scene = Scene(directory)
    try:
        async with asyncio.timeout(60):
            yield scene
    finally:
        await scene.close()


async def test_one_pull_for_all_who_ask(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        one, two = await scene.server("one"), await scene.server("two")
        pinned = await one.resolve(scene.layout("x") + ":x")
        lines: list[str] = []
        ready = await asyncio.gather(*(each.ensure(pinned.image, lines.append) for each in (one, one, two)))
        assert len({each.root for each in ready}) == 1 and (ready[0].root / "app").read_text() == "x"
        assert sum("pulled in" in line for line in lines) == 1, lines
        image = ready[0]
        assert (image.runtime, image.digest, image.command, image.runtime_dir, image.version_arn) == ("image", pinned.digest, (), None, "")
        assert image.environment == {**ENVIRONMENT, "PATH": "/app", "A": "1"}
        assert await one.ensure(pinned.image) is ready[0]  # nothing is looked up again


async def test_an_image_stays_while_anybody_needs_it(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        one, two = await scene.server("one"), await scene.server("two")
        layout = scene.layout("x", "y")
        x, y = await one.resolve(f"{layout}:x"), await one.resolve(f"{layout}:y")
        for pinned in (x, y):
            await one.ensure(pinned.image)
        await two.ensure(x.image)
        assert len(scene.kept()) == 2 and scene.blobs() == 5  # two configurations, a layer in common
        await scene.age((one, {y.digest}))  # two needs x, though it is not running
        assert len(scene.kept()) == 2
        await scene.age((one, {y.digest}), (two, set()), seconds=UNUSED_S - 60)
        assert len(scene.kept()) == 2
        await scene.age((one, {y.digest}), seconds=60)
        assert scene.kept() == {f"{y.digest}-r1"} and scene.blobs() == 5
        await scene.age((one, {y.digest}))
        assert scene.blobs() == 3
        again = await one.ensure(x.image)
        assert (again.root / "app").read_text() == "x"  # from the trash


async def test_a_data_directory_that_is_away_needs_its_images_for_a_month(tmp_path: Path) -> None:
    """It may have been moved. One that is there needs them for as long as it is."""

    async with run(tmp_path) as scene:
        one, two = await scene.server("one"), await scene.server("two")
        pinned = await one.resolve(scene.layout("x") + ":x")
        await one.ensure(pinned.image)
        refs = list((scene.images / "containers/refs" / pinned.digest).iterdir())
        assert [ref.name for ref in refs] == ["one"] and str(scene.directory) not in refs[0].read_text()
        await scene.clock.advance(10 * paths.ABSENT_S)
        await scene.age((two, set()))
        assert len(scene.kept()) == 1
        (scene.directory / "one").rename(scene.directory / "elsewhere")
        moved = ContainerImages(scene.images, ImageOwner("one", scene.directory / "elsewhere"), clock=scene.clock)
        await moved.collect({pinned.digest})
        await scene.clock.advance(10 * paths.ABSENT_S)
        await scene.age((two, set()))
        assert len(scene.kept()) == 1
        await moved.collect({pinned.digest})
        (scene.directory / "elsewhere" / FILE).unlink()
        await scene.clock.advance(paths.ABSENT_S - 2 * UNUSED_S)
        await scene.age((two, set()))
        assert len(scene.kept()) == 1
        await scene.clock.advance(2 * UNUSED_S)
        await scene.age((two, set()))
        assert scene.kept() == set()


async def test_what_refers_by_a_path_is_read(tmp_path: Path) -> None:
    """As it was once: the path of its owner's state.db. Its owner refers anew; of others it counts as long as that is there."""

    async with run(tmp_path) as scene:
        one, two = await scene.server("one"), await scene.server("two")
        pinned = await one.resolve(scene.layout("x") + ":x")
        await one.ensure(pinned.image)
        refs = scene.images / "containers/refs" / pinned.digest
        for ref in refs.iterdir():
            ref.unlink()
        state = scene.directory.resolve() / "one" / "state.db"
        state.touch()
        (refs / hashlib.sha256(os.fsencode(state)).hexdigest()[:16]).write_text(str(state))
        await scene.age((two, set()))
        assert len(scene.kept()) == 1
        await one.collect({pinned.digest})
        assert [ref.name for ref in refs.iterdir()] == ["one"]


async def test_an_image_whose_root_is_lost_is_pulled_again(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        one = await scene.server("one")
        pinned = await one.resolve(scene.layout("x") + ":x")
        ready = await one.ensure(pinned.image)
        assert await one.find_missing({pinned.image}) == set()
        for lost in (ready.root, ready.root.parent / "about.json", ready.root.parent):
            shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
            assert await one.find_missing({pinned.image}) == {pinned.image}
            again = await one.ensure(pinned.image)
            assert (again.root / "app").read_text() == "x" and await one.find_missing({pinned.image}) == set()


async def test_names(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        layout = scene.layout("x", "y")
        server = await scene.server()
        named = await add(scene.images, "mine", f"{layout}:x", (), print)
        assert named.image == f"{layout}@sha256:{named.digest}"
        assert (await server.resolve("mine")).digest == named.digest
        await server.collect(set())
        assert len(scene.kept()) == 1
        moved = await add(scene.images, "mine", f"{layout}:y", (), print)
        assert (await server.resolve("mine")).digest == moved.digest != named.digest
        await scene.age((server, set()))
        assert scene.kept() == {f"{moved.digest}-r1"}
        assert paths.remove_name(scene.images, "mine") and not paths.remove_name(scene.images, "mine")
        with pytest.raises(ImageError, match="names no image"):
            await server.resolve("mine")
        for name in ("", "../x", "a/b", ".x", "x" * 200, "oci:x"):
            with pytest.raises(ImageError, match="cannot be a name"):
                await add(scene.images, name, f"{layout}:x", (), print)
            assert paths.read_name(scene.images, name) is None and not paths.remove_name(scene.images, name)


async def test_collection_is_no_step_ahead(tmp_path: Path) -> None:
    """An image that is asked for while unused ones are removed is there when the asking ends."""

    async with run(tmp_path) as scene:
        server = await scene.server()
        pinned = await server.resolve(scene.layout("x") + ":x")
        await server.ensure(pinned.image)
        for _ in range(20):
            await scene.age((server, {pinned.digest}), seconds=0)
            paths.release(scene.images, ImageOwner("one", scene.directory / "one"), set())
            await scene.age((server, set()), seconds=UNUSED_S - 60)
            await scene.clock.advance(60)
            collecting = asyncio.create_task(server.collect(set()))
            await asyncio.sleep(0)
            image = await server.ensure(pinned.image)
            await collecting
            assert (image.root / "app").read_text() == "x"


async def test_failures_keep_their_kind(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        server = await scene.server()
        layout = scene.layout("x")
        for uri, kind in (("app", "malformed"), (f"{layout}:z", "missing"), ("127.0.0.1:1/app", "unavailable")):
            with pytest.raises(ImageError) as caught:
                await server.resolve(uri)
            assert caught.value.kind == kind, caught.value
        with pytest.raises(ImageError) as caught:
            await server.ensure(f"{layout}@sha256:{'0' * 64}")
        assert caught.value.kind == "missing"


def _stall(registry: Liar) -> str:
    """The reference of an image whose layer never comes."""
    made = Image([layer([file("app", "x")])])
    reference = registry.serve(made)
    registry.stall(list(made.blobs)[1])
    return reference


async def test_a_pull_ends_with_the_server(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        with liar() as registry:
            server = await scene.server()
            pinned = await server.resolve(_stall(registry))
            pulling = asyncio.create_task(server.ensure(pinned.image))
            await until(lambda: any("/blobs/" in path for path in registry.paths()))
            await server.close()
            with pytest.raises(asyncio.CancelledError):
                await pulling
            assert scene.kept() == set()


async def test_what_a_killed_pull_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        server = await scene.server()
        pinned = await server.resolve(scene.layout("x") + ":x")
        made = scene.images / "building" / f"{pinned.digest}-r1"
        (made / "root/app").mkdir(parents=True)
        half = paths.container_path(scene.images, pinned.digest)
        (half / "root").mkdir(parents=True)
        image = await server.ensure(pinned.image)
        assert (image.root / "app").read_text() == "x" and not made.exists()


async def test_a_worker_that_is_killed_says_so(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        with liar() as registry:
            server = await scene.server()
            pinned = await server.resolve(_stall(registry))
            pulling = asyncio.create_task(server.ensure(pinned.image))
            found = await until(lambda: _worker_of(scene.images))
            os.kill(found, signal.SIGKILL)
            with pytest.raises(ImageError, match="failed"):
                await pulling


def _worker_of(images: Path) -> int:
    """The process that pulls into a directory."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(images) in words and any(b'"pull"' in word for word in words):
            return int(path.parent.name)
    return 0


async def test_a_worker_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with run(tmp_path) as scene:
        with liar() as registry:
            server = await scene.server()
            pinned = await server.resolve(_stall(registry))
            monkeypatch.setattr(container_images, "PULL_S", 2.0)
            with pytest.raises(ImageError, match="was not had within 2 s"):
                await server.ensure(pinned.image)


async def test_about_an_image_is_read_with_care(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        server = await scene.server()
        (scene.images / "names/broken.json").write_text(json.dumps([]))
        with pytest.raises(ImageError, match="names/broken.json is damaged"):
            await server.resolve("broken")


async def test_an_image_with_extensions_is_taken_as_it_is(tmp_path: Path) -> None:
    async with run(tmp_path) as scene:
        server = await scene.server()
        files = [file("base", "b"), file("opt/extensions/lambda-adapter", "#!", 0o755)]
        layout = write_layout(scene.directory / "adapter", {"latest": Image([layer(files)], {})})
        pinned = await server.resolve(f"oci:{layout}:latest")
        assert find_extensions((await server.ensure(pinned.image)).root / "opt") == ["lambda-adapter"]
