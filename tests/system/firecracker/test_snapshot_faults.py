"""Snapshots that are not made, not whole or not to be loaded; a disk that is full. Whatever it is, the next machine works."""

import os
import shutil
from pathlib import Path

import pytest

from hanabi.base import linux
from hanabi.errors import SandboxError
from hanabi.testing.firecracker import Fault
from hanabi.testing.firecracker.fork_server import ForkServer
from tests import leftovers
from tests.system.firecracker.rig import Rig, frame, send
from tests.system.firecracker.test_driver_faults import whole, works


@pytest.mark.parametrize("do", ["half-state", "half-memory"])
async def test_half_a_template_is_none(rig: Rig, do: str) -> None:
    before = whole(rig)
    rig.play(Fault(on="PUT /snapshot/create", do=do))
    said = await rig.fails(rig.create(do))
    assert "PUT /snapshot/create: the VMM hung up" in said
    await rig.nothing_left(snapshots=before)
    await works(rig, do)
    assert whole(rig) == before + 1


@pytest.mark.parametrize("damage", ["memory is short", "no state", "empty state", "gone", "draft"])
async def test_a_template_that_is_not_whole_is_made_anew(rig: Rig, damage: str) -> None:
    driver = rig.another_driver(rig.directory / "run-damage")
    await driver.open()
    before = set(rig.snapshots.iterdir())
    await driver.prepare(rig.spec(damage).image, None)
    (place,) = (each for each in set(rig.snapshots.iterdir()) - before if each.is_dir())
    await driver.close()
    if damage == "memory is short":
        os.truncate(place / "memory", 4096)
    elif damage == "empty state":
        os.truncate(place / "state", 0)
    elif damage == "no state":
        (place / "state").unlink()
    else:
        place.rename(place.with_name(f"draft-{place.name}" if damage == "draft" else "elsewhere"))
    box = await rig.create(damage, preload=None)
    assert (place / "memory").stat().st_size == 608 << 20
    await box.destroy()
    await rig.nothing_left()


async def test_a_template_that_firecracker_refuses_is_named_and_made_anew(rig: Rig) -> None:
    """Damage that its size does not tell."""

    await rig.driver.prepare(rig.spec("spoilt").image, None)
    state = max(rig.snapshots.glob("*/state"), key=lambda path: path.stat().st_mtime_ns)
    state.write_bytes(state.read_bytes()[:10])
    said = await rig.fails(rig.create("spoilt", preload=None))
    assert "PUT /snapshot/load: Load snapshot error" in said and "CRC64" in said
    assert not state.exists()
    await (await rig.create("spoilt", preload=None)).destroy()
    state.write_bytes(state.read_bytes()[:10])  # once more, and it is not thrown away again: something else is wrong
    await rig.fails(rig.create("spoilt", preload=None))
    assert state.exists()
    shutil.rmtree(state.parent)
    await rig.nothing_left()


@pytest.mark.parametrize("do", ["close", "garbage", "crash-before"])
async def test_a_guest_that_is_not_still_for_its_snapshot(rig: Rig, do: str) -> None:
    before = whole(rig)
    rig.play(Fault(on="agent N", do=do))
    await rig.fails(rig.create(f"nap {do}"))
    await rig.nothing_left(snapshots=before)
    await works(rig, f"nap {do}")


async def test_a_template_removed_while_it_is_in_use(rig: Rig) -> None:
    box = await rig.create("removed")
    rig.play()
    for place in rig.snapshots.glob("*/state"):
        place.unlink()
    await send(box, b"i", b"{}")
    assert await frame(box) == b"r"
    await box.destroy()
    await works(rig, "removed")
    assert "PUT /snapshot/create" in rig.asked()


@pytest.mark.parametrize("do", ["refuse", "crash-after", "half-state", "half-memory"])
async def test_a_function_whose_snapshot_fails(rig: Rig, do: str, tmp_path: Path) -> None:
    await rig.driver.prepare(rig.image, None)
    rig.play(Fault(on="PUT /snapshot/create", do=do, message="no room"))
    box = await rig.create(preload=None, mounts=((tmp_path / "code", "/var/task"),))
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(SandboxError, match="PUT /snapshot/create: (no room|the VMM hung up)"):
        await box.snapshot(kept)
    await box.destroy()
    with pytest.raises(SandboxError, match="the snapshot kept cannot be read"):
        await rig.create(snapshot=kept, preload=None)
    await rig.nothing_left()


async def test_a_disk_that_is_full(fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("small")
    linux.mount("tmpfs", str(place), "tmpfs", 0, "size=256k,mode=0755")
    try:
        async with Rig(fork_server, snapshots=place / "snapshots") as rig:
            filler = place / "filler"
            filler.write_bytes(bytes(200 << 10))
            with filler.open("ab", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            said = await rig.fails(rig.create())
            assert "No space left on device" in said, said
            await rig.nothing_left(snapshots=0)
            filler.unlink()
            await works(rig)
            await rig.nothing_left(snapshots=1)
    finally:
        linux.unmount(str(place))


async def test_whatever_lies_in_a_jails_place_is_not_in_the_way_for_ever(rig: Rig) -> None:
    await rig.driver.prepare(rig.image, None)
    spec = rig.spec(preload=None)
    left = rig.run_dir / "jails" / "firecracker" / spec.id / "root"
    left.mkdir(parents=True)
    assert "File exists" in await rig.fails(rig.driver.create(spec))
    assert not left.exists()
    box = await rig.driver.create(spec)
    await box.destroy()
    assert leftovers.of_machines(rig.run_dir) == []
