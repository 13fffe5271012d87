"""Layers that are merged: order, kinds of entries, what survives, what is collected."""

import asyncio
import base64
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from hanabi.errors import CodeError
from hanabi.images.code.code_store import CodeStore
from hanabi.images.layers.layer_sets import LayerSets, merge
from hanabi.images.trash import TRASH_S, UNUSED_S
from hanabi.testing import ManualClock
from tests.unit.images.aging import pass_time
from tests.unit.images.archives import Entry, link, make


def tree(directory: Path) -> dict[str, str]:
    """Every entry: a file's content with `x` before it where it can be executed, a link's target, `/` for a directory."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "/"
        else:
            found[name] = ("x" if path.stat().st_mode & 0o111 else "") + path.read_text()
    return found


class Rig:
    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.directory = directory
        self.code = CodeStore(directory / "code", self.clock)
        self.sets = LayerSets(directory / "layers", self.code.place, self.clock)

    async def open(self) -> "Rig":
        await self.code.open()
        await self.sets.open()
        return self

    async def store(self, *entries: Entry) -> str:
        return (await self.code.store(make(entries))).sha256

    def names(self) -> set[str]:
        return {path.name for path in (self.directory / "layers").iterdir()} - {"unused", "trash"}


async def test_later_layers_lie_over_earlier_ones(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open()
    first = await rig.store(
        Entry(name=b"python/a.py", data=b"1"),
        Entry(name=b"python/b.py", data=b"1"),
        Entry(name=b"bin/tool", data=b"1", mode=0o100755),
        link(b"lib/libx.so", b"libx.so.1"),
        Entry(name=b"was/directory/deep", data=b"1"),
        Entry(name=b"was-file", data=b"1"),
    )
    second = await rig.store(
        Entry(name=b"python/b.py", data=b"2"),
        Entry(name=b"python/c.py", data=b"2"),
        link(b"was", b"python"),
        Entry(name=b"was-file/now", data=b"2"),
    )
    place = await rig.sets.ensure((first, second))
    assert tree(place) == {
        "bin": "/", "bin/tool": "x1", "lib": "/", "lib/libx.so": "-> libx.so.1", "python": "/", "python/a.py": "1", "python/b.py": "2",
        "python/c.py": "2", "was": "-> python", "was-file": "/", "was-file/now": "2",
    }  # fmt: skip
    assert place == rig.sets.place((first, second)) != rig.sets.place((second, first))
    other = await rig.sets.ensure((second, first))
    assert tree(other)["python/b.py"] == "1" and tree(other)["was/directory/deep"] == "1" and tree(other)["was-file"] == "1"
    assert os.stat(place / "bin/tool").st_ino == os.stat(rig.code.place(first) / "bin/tool").st_ino  # not copied
    assert tree(rig.code.place(first))["python/b.py"] == "1"  # nor changed


async def test_a_single_layer_is_mounted_as_it_is_unpacked(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open()
    only = await rig.store(Entry(name=b"a", data=b"1"))
    assert await rig.sets.ensure((only,)) == rig.code.place(only)
    assert rig.names() == set()


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, first, second, target = (tmp_path / name for name in ("outside", "first", "second", "target"))
    for directory in (outside, first, second / "lib"):
        directory.mkdir(parents=True)
    (outside / "file").write_text("theirs")
    (first / "lib").symlink_to(outside)
    (first / "file").symlink_to(outside / "file")
    (second / "lib" / "new").write_text("2")
    (second / "file").write_text("2")
    merge(first, target)
    merge(second, target)
    assert tree(target) == {"lib": "/", "lib/new": "2", "file": "2"}
    assert tree(outside) == {"file": "theirs"}


async def test_callers_share_one_merge_and_a_set_that_is_gone_is_made_again(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open()
    hashes = [await rig.store(Entry(name=b"%d" % number, data=b"1")) for number in range(5)]
    places = await asyncio.gather(*(rig.sets.ensure(hashes) for _ in range(5)))
    (place,) = set(places)
    assert len(rig.names()) == 1
    whole = {str(number): "1" for number in range(5)}
    shutil.rmtree(place.parent)
    assert tree(await rig.sets.ensure(hashes)) == whole
    for path in place.iterdir():
        path.unlink()
    assert tree(await rig.sets.ensure(hashes)) == whole
    place.rename(tmp_path / "elsewhere")
    assert tree(await rig.sets.ensure(hashes)) == whole


async def test_what_a_killed_merge_left_goes(tmp_path: Path) -> None:
    left = tmp_path / "layers" / "incoming-1" / "opt"
    left.mkdir(parents=True)
    rig = await Rig(tmp_path).open()
    assert rig.names() == set()


async def test_modes_are_mended_after_a_copy(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open()
    hashes = [await rig.store(Entry(name=name, data=b"1")) for name in (b"a", b"b")]
    place = await rig.sets.ensure(hashes)
    place.chmod(0o700)
    await rig.sets.ensure(hashes)
    assert place.stat().st_mode & 0o777 == 0o755


async def test_a_layer_that_is_gone(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open()
    gone = base64.b64encode(hashlib.sha256(b"gone").digest()).decode()
    with pytest.raises(CodeError, match="layers cannot be merged"):
        await rig.sets.ensure((await rig.store(Entry(name=b"a", data=b"1")), gone))
    assert rig.names() == set()


async def test_what_is_not_used_goes_to_the_trash_and_comes_back(tmp_path: Path) -> None:
    rig = await Rig(tmp_path).open()
    a, b = [await rig.store(Entry(name=name, data=b"1")) for name in (b"a", b"b")]
    used, unused = await rig.sets.ensure((a, b)), await rig.sets.ensure((b, a))

    async def collect() -> None:
        await rig.sets.collect({used})

    await pass_time(rig.clock, UNUSED_S, collect)
    assert used.is_dir() and not unused.is_dir()
    assert tree(await rig.sets.ensure((b, a))) == {"a": "1", "b": "1"}
    await pass_time(rig.clock, UNUSED_S + TRASH_S, collect)
    assert not (tmp_path / "layers" / "trash" / unused.parent.name).exists() and used.is_dir()
    await rig.sets.close()
