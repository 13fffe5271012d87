"""Drives: what is on them, that the same tree gives the same bytes, that hostile trees and killed packers do no harm."""

import asyncio
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.builders.programs import SEARCHED
from hanabi.images.code.code_store import CodeStore
from hanabi.images.drives import drives
from hanabi.images.drives.drives import Drives, beside
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.images.trash import UNUSED_S
from hanabi.testing import ManualClock
from tests.server import IMAGES
from tests.unit.images.aging import pass_time
from tests.unit.images.archives import simple
from tests.waiting import until

NEEDED = "" if shutil.which("mkfs.erofs", path=SEARCHED) else "needs mkfs.erofs (erofs-utils)"
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=NEEDED)
can_mount = os.geteuid() == 0 and "\terofs\n" in Path("/proc/filesystems").read_text() and Path("/dev/loop-control").exists()
needs_mount = pytest.mark.skipif(not can_mount, reason="needs root, loop devices and erofs in this kernel: it mounts what was made")
NAMES = [b"plain", "größe".encode(), b"\xff\xfe", b"new\nline", b"-rf", b" ", b"a" * 254, b"*"]


async def use(directory: Path, work: Callable[[Drives], Coroutine[Any, Any, Any]], **options: str) -> Any:
    made = Drives(directory, directory / "agent", **options)
    try:
        return await asyncio.wait_for(work(made), 120)
    finally:
        await made.close()


@contextmanager
def mounted(drive: Path, point: Path) -> Iterator[Path]:
    point.mkdir()
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,loop", drive, point], check=True, timeout=60)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True, timeout=60)
        point.rmdir()


def make_tree(tree: Path, names: list[bytes]) -> Path:
    """Odd names, links of all kinds, times; made in the order of `names`."""
    tree.mkdir(parents=True)
    for name in names:
        directory = os.fsencode(tree) + b"/directory-" + name[:200]
        os.mkdir(directory)
        with open(directory + b"/" + name, "wb") as file:
            file.write(name * 1000)
        os.utime(directory + b"/" + name, ns=(1_234_567_890_123_456_789, 1_234_567_890_123_456_789))
        os.symlink(name, directory + b"/link")
    (tree / "program").write_bytes(b"x" * 100_000)
    (tree / "program").chmod(0o755)
    os.utime(tree / "program", (1, 1))
    (tree / "out").symlink_to("/etc/passwd")
    (tree / "up").symlink_to("../../../../etc")
    os.link(tree / "program", tree / "same")
    (tree / "empty").touch()
    os.utime(tree / "empty", (1, 1))
    return tree


def listing(tree: Path) -> dict[bytes, tuple[Any, ...]]:
    """Everything of a tree that a function can see, owners, and times of directories and links aside."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for directory, folders, files in os.walk(os.fsencode(tree)):
        for name in (*folders, *files):
            path = os.path.join(directory, name)
            facts = os.lstat(path)
            content: Any = None
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(facts.st_mode):
                with open(path, "rb") as file:
                    content = (file.read(), facts.st_mtime_ns, facts.st_nlink)
            found[path[len(os.fsencode(tree)) :]] = (facts.st_mode if not stat.S_ISLNK(facts.st_mode) else "link", content)
    return found


@needs_mount
async def test_a_drive_holds_the_tree(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "code" / "task", NAMES)
    drive = await use(tmp_path, lambda made: made.of_directory(tree))
    assert drive == beside(tree) == tmp_path / "code" / "task.erofs"
    assert stat.S_IMODE(drive.stat().st_mode) == 0o444
    assert drive.stat().st_size % 4096 == 0
    with mounted(drive, tmp_path / "mnt") as point:
        assert listing(point) == listing(tree)
        owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in (point, *point.rglob("*"))}
        assert owners == {(0, 0)}
        with pytest.raises(OSError):
            (point / "new").touch()
    assert (tree / "program").stat().st_nlink == 2  # nothing is left of the stage


async def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    """Made in another order, at another time, elsewhere, in directories of other ages."""
    one = make_tree(tmp_path / "a" / "task", NAMES)
    two = make_tree(tmp_path / "somewhere else" / "task", NAMES[::-1])
    os.utime(two, (5, 5))
    first = (await use(tmp_path, lambda made: made.of_directory(one))).read_bytes()
    assert (await use(tmp_path, lambda made: made.of_directory(two))).read_bytes() == first
    os.utime(two / "program", (2, 2))
    beside(two).unlink()
    assert (await use(tmp_path, lambda made: made.of_directory(two))).read_bytes() != first  # byte code is valid for a time


@needs_mount
async def test_what_others_may_not_read_becomes_readable(tmp_path: Path) -> None:
    tree = tmp_path / "task"
    (tree / "closed").mkdir(parents=True)
    (tree / "closed" / "secret").write_text("x")
    (tree / "closed" / "secret").chmod(0o600)
    (tree / "closed" / "run").write_text("x")
    (tree / "closed" / "run").chmod(0o700)
    (tree / "closed").chmod(0o700)
    os.mkfifo(tree / "fifo")
    with mounted(await use(tmp_path, lambda made: made.of_directory(tree)), tmp_path / "mnt") as point:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in point.rglob("*")}
    assert modes == {"closed": 0o755, "secret": 0o644, "run": 0o755}
    assert stat.S_IMODE((tree / "closed" / "secret").stat().st_mode) == 0o600  # the tree itself is left alone


def image(tmp_path: Path) -> RuntimeImage:
    root, bootstrap, agent = tmp_path / "root", tmp_path / "bootstrap", tmp_path / "agent"
    for directory in (root / "var/runtime/old", root / "etc", root / "bin", bootstrap / "package"):
        directory.mkdir(parents=True)
    (root / "etc/hosts").write_text("old")
    (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    (root / "bin/true").write_bytes(b"\x7fELF")
    (bootstrap / "bootstrap.py").write_text("pass")
    (bootstrap / "package" / "module.py").write_text("pass")
    agent.write_bytes(b"agent")
    agent.chmod(0o755)
    return RuntimeImage(runtime="x1", digest="d", root=root, runtime_dir=bootstrap, command=(), environment={}, version_arn="")


@needs_mount
async def test_a_root_has_its_extras(tmp_path: Path) -> None:
    runtime = image(tmp_path)
    before = listing(runtime.root)
    drive = await use(tmp_path, lambda made: made.of_image(runtime), resolv_conf="nameserver 10.0.0.1\n")
    assert drive.parent == tmp_path / "drives" and drive.name.startswith("x1-")
    with mounted(drive, tmp_path / "mnt") as point:
        assert (point / "var/runtime/bootstrap.py").read_text() == "pass"
        assert (point / "var/runtime/package/module.py").is_file()
        assert not (point / "var/runtime/old").exists()
        assert (point / ".hanabi/init").read_bytes() == b"agent"
        assert stat.S_IMODE((point / ".hanabi/init").stat().st_mode) == 0o755
        assert not (point / "etc/resolv.conf").is_symlink()
        assert (point / "etc/resolv.conf").read_text() == "nameserver 10.0.0.1\n"
        assert (point / "etc/hosts").read_text() == "127.0.0.1 localhost sandbox.localdomain sandbox\n"
        assert (point / "bin/true").is_file()
    assert listing(runtime.root) == before  # the root that containers use is left alone


async def test_a_drive_is_known_by_all_that_is_on_it(tmp_path: Path) -> None:
    runtime = image(tmp_path)

    async def work(made: Drives) -> None:
        first = await made.of_image(runtime)
        inode = first.stat().st_ino
        agent = tmp_path / "agent"
        assert await Drives(tmp_path, agent).of_image(runtime) == first and first.stat().st_ino == inode
        assert await Drives(tmp_path, agent, hosts="other\n").of_image(runtime) != first
        assert await Drives(tmp_path, agent, resolv_conf="other\n").of_image(runtime) != first
        assert await made.of_image(replace(runtime, digest="e")) != first
        agent.write_bytes(b"another agent")
        assert await Drives(tmp_path, agent).of_image(runtime) != first

    await use(tmp_path, work)


@needs_mount
async def test_a_container_images_drive_lies_beside_it_and_keeps_its_own_runtime(tmp_path: Path) -> None:
    runtime = image(tmp_path)
    (runtime.root / "var/runtime/own").write_text("own")
    drive = await use(tmp_path, lambda made: made.of_image(replace(runtime, runtime="image", runtime_dir=None)))
    assert drive.parent == runtime.root.parent and drive.name.startswith("root-")
    with mounted(drive, tmp_path / "mnt") as point:
        assert (point / "var/runtime/own").read_text() == "own" and (point / ".hanabi/init").stat().st_size


def test_removing_a_runtime_removes_its_drives(tmp_path: Path) -> None:
    (tmp_path / "drives").mkdir()
    for name in ("python3.13-a.erofs", "python3.13-a.erofs.lock", "python3.11-a.erofs", "empty.erofs"):
        (tmp_path / "drives" / name).touch()
    RuntimeImages(tmp_path, tmp_path).remove("python3.13")
    assert {path.name for path in (tmp_path / "drives").iterdir()} == {"python3.11-a.erofs", "empty.erofs"}


@pytest.mark.parametrize("place", ["etc", ".hanabi", "var"])
async def test_a_root_that_points_out_of_itself(tmp_path: Path, place: str) -> None:
    """An image from elsewhere may have a link where an extra goes: nothing is written through it."""
    runtime = image(tmp_path)
    victim = tmp_path / "victim"
    victim.mkdir()
    shutil.rmtree(runtime.root / place, ignore_errors=True)
    (runtime.root / place).symlink_to(victim)
    with pytest.raises(ImageError, match="no directory in this root"):
        await use(tmp_path, lambda made: made.of_image(runtime))
    assert list(victim.iterdir()) == []
    assert [path.name for path in (tmp_path / "drives").iterdir() if path.suffix != ".lock"] == []


@needs_mount
async def test_the_empty_drive(tmp_path: Path) -> None:
    drive = await use(tmp_path, lambda made: made.empty())
    assert drive.stat().st_size == 4096
    with mounted(drive, tmp_path / "mnt") as point:
        assert list(point.iterdir()) == []


async def test_codes_drive_goes_with_the_code(tmp_path: Path) -> None:
    async def work(made: Drives) -> None:
        clock = ManualClock()
        store = CodeStore(tmp_path / "code", clock)
        await store.open()
        stored = await store.store(simple(a=b"1"))
        drive = await made.of_directory(stored.path)
        await store.collect({stored.path})
        assert drive.parent == stored.path.parent and drive.exists()
        await pass_time(clock, UNUSED_S, lambda: store.collect(set()))
        assert not drive.parent.exists() and (tmp_path / "code" / "trash" / drive.parent.name / drive.name).exists()

    await use(tmp_path, work)


async def test_callers_at_the_same_time_share_one_packer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "task", NAMES)
    runs = 0
    real = drives._run_packer

    async def count(order: bytes, name: str) -> tuple[int, str]:
        nonlocal runs
        runs += 1
        return await real(order, name)

    monkeypatch.setattr(drives, "_run_packer", count)

    async def work(made: Drives) -> None:
        cancelled = asyncio.create_task(made.of_directory(tree))
        others = [asyncio.create_task(made.of_directory(tree)) for _ in range(5)]
        await asyncio.sleep(0)
        cancelled.cancel()
        assert set(await asyncio.gather(*others)) == {beside(tree)}
        other = Drives(tmp_path, tmp_path / "agent")  # as another process would
        beside(tree).unlink()
        await asyncio.gather(made.of_directory(tree), other.of_directory(tree))

    await use(tmp_path, work)
    assert runs == 3
    assert not Path(f"{beside(tree)}.packing").exists()


async def test_a_killed_packer(tmp_path: Path) -> None:
    """Whatever it leaves is not taken for a drive, and the next one clears it."""
    tree = make_tree(tmp_path / "task", NAMES)
    stage = Path(f"{beside(tree)}.packing")
    (stage / "tree" / "half").mkdir(parents=True)
    (stage / "drive").write_bytes(b"half a drive")
    assert not beside(tree).exists()
    drive = await use(tmp_path, lambda made: made.of_directory(tree))
    assert len(drive.read_bytes()) > 100_000
    assert not stage.exists()


async def test_closing_ends_the_packer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "task", NAMES)
    tools = tmp_path / "tools"
    tools.mkdir()
    started = tmp_path / "started"
    os.mkfifo(started)
    (tools / "mkfs.erofs").write_text(f"#!/bin/sh\necho $$ >{started}\nexec sleep 3600\n")
    (tools / "mkfs.erofs").chmod(0o755)
    monkeypatch.setattr(drives, "SEARCHED", f"{tools}:{SEARCHED}")

    async def work(made: Drives) -> None:
        packing = asyncio.create_task(made.of_directory(tree))
        pid = int(await asyncio.to_thread(started.read_text))
        await made.close()
        await asyncio.gather(packing, return_exceptions=True)
        await until(lambda: has_ended(pid))

    await use(tmp_path, work)
    assert not beside(tree).exists()
    assert not Path(f"{beside(tree)}.packing").exists()


def has_ended(pid: int) -> bool:
    """Whether a process has, be it a zombie: whoever is its parent then may not look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_what_a_failing_tool_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "task", NAMES)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mkfs.erofs").write_text("#!/bin/sh\necho disk full\nexit 7\n")
    (tools / "mkfs.erofs").chmod(0o755)
    monkeypatch.setattr(drives, "SEARCHED", f"{tools}:{SEARCHED}")
    with pytest.raises(ImageError, match="task.erofs could not be made: mkfs.erofs failed with status 7: disk full"):
        await use(tmp_path, lambda made: made.of_directory(tree))
    with pytest.raises(ImageError, match="No such file"):
        await use(tmp_path, lambda made: made.of_directory(tmp_path / "none"))


async def test_a_name_that_the_tool_cannot_take(tmp_path: Path) -> None:
    """mkfs.erofs 1.5 loses the last of 255 bytes; it is said, or packed by a newer one."""
    tree = tmp_path / "task"
    tree.mkdir()
    (tree / ("n" * 255)).touch()
    try:
        await use(tmp_path, lambda made: made.of_directory(tree))
    except ImageError as error:
        assert "a name of 255 bytes" in str(error)


async def test_without_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hanabi.images.builders.programs.SEARCHED", str(tmp_path))
    with pytest.raises(ImageError, match="mkfs.erofs is not installed: sudo apt-get install erofs-utils"):
        await use(tmp_path, lambda made: made.empty())


async def test_a_packer_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "task", NAMES)
    lock = os.open(f"{beside(tree)}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # another one, that does not end
    monkeypatch.setattr(drives, "PACK_S", 0.3)
    with pytest.raises(ImageError, match="not packed within"):
        await use(tmp_path, lambda made: made.of_directory(tree))
    os.close(lock)


@needs_mount
async def test_a_real_root(tmp_path: Path) -> None:
    places = sorted(IMAGES.glob("roots/python3.13-*/root"))
    if not places:
        pytest.skip("needs the runtime root of python3.13: make roots")
    agent = tmp_path / "agent"
    agent.write_bytes(b"agent")
    bootstrap = tmp_path / "bootstrap"
    bootstrap.mkdir()
    root = RuntimeImage(runtime="python3.13", digest="d", root=places[0], runtime_dir=bootstrap, command=(), environment={}, version_arn="")
    drive = await use(tmp_path, lambda made: made.of_image(root))
    with mounted(drive, tmp_path / "mnt") as point:
        stdlib = "usr/lib/python3.13"
        ages = {path.name: path.lstat().st_mtime_ns for path in (places[0] / stdlib).glob("*.py") if not path.is_symlink()}
        assert {path.name: path.lstat().st_mtime_ns for path in (point / stdlib).glob("*.py") if not path.is_symlink()} == ages
        command = ["chroot", str(point), "/var/lang/bin/python3.13", "-I", "-c", "import json; print(json.dumps([1]))"]
        assert subprocess.run(command, capture_output=True, check=True, timeout=60).stdout == b"[1]\n"
