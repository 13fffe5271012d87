"""Packs a directory tree into a read-only drive: `python -I -S packing.py < ORDER`, hence the standard library only.

    {"tree": DIRECTORY, "drive": FILE, "extras": [{"at": "/inside", "file" | "directory": PATH} | {"at": ..., "text": STRING}, ...]}

The drive is erofs, uncompressed: docs/microvm.md has the figures. The same tree gives the same bytes. A tree to which something is added
is staged by hard links. The drive appears by a rename; one packer at a time makes it, and first removes what a killed one left.
Symbolic links are kept, never followed.
"""

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from typing import Any

EPOCH_NS = 315_532_800 * 10**9  # 1980: what is made here has this time, on which nothing depends
# Given in the environment it is the time of the file system itself, and clamps those of files: byte code is valid for a file's own time.
BUILD_TIME = "4102444800"
IDENTITY = "68616e61-6269-4000-8000-000000000001"  # the UUID of every drive
BLOCK_BYTES = 4096
NICENESS = 10
NAME_MAX = 255  # bytes
QUOTED = 1500  # characters of what a failed program said
_UNLINKABLE = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)


class PackError(Exception):
    """A tree that cannot be packed; the message says why."""


def pack(order: dict[str, Any]) -> None:
    """Make the drive, unless it exists. Raises `PackError` or `OSError`."""
    drive = os.fspath(order["drive"])
    lock = os.open(f"{drive}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(drive):
            return
        work = f"{drive}.packing"
        shutil.rmtree(work, ignore_errors=True)
        os.mkdir(work, 0o700)
        try:
            tree, extras = order["tree"], order.get("extras", [])
            if extras or not normalise_modes(tree):
                copy_tree(tree, f"{work}/tree", extras)
                tree = f"{work}/tree"
            make_file_system(tree, f"{work}/drive", lock)
            publish(f"{work}/drive", drive)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(lock)


# --- staging


def normalise_modes(tree: str) -> bool:
    """Make a tree ready to be packed as it lies there, which is quicker; False when it takes more than times of directories and links."""
    ours = os.geteuid()
    places = []
    for directory, folders, files in os.walk(os.fsencode(tree), onerror=_fail):
        for path in (directory, *(os.path.join(directory, name) for name in (*folders, *files))):
            facts = os.lstat(path)
            kind, mode = stat.S_IFMT(facts.st_mode), stat.S_IMODE(facts.st_mode)
            if kind == stat.S_IFREG:
                if mode != _readable(mode):
                    return False
            elif kind not in (stat.S_IFDIR, stat.S_IFLNK) or facts.st_uid != ours or (kind == stat.S_IFDIR and mode & 0o555 != 0o555):
                return False
            elif facts.st_mtime_ns != EPOCH_NS:
                places.append(path)
    for path in places:
        os.utime(path, ns=(EPOCH_NS, EPOCH_NS), follow_symlinks=False)
    return True


def _fail(error: OSError) -> None:
    raise error


def _readable(mode: int) -> int:
    """A file's mode, world-readable, and executable for all if for any."""
    return mode | (0o555 if mode & 0o111 else 0o444)


def copy_tree(tree: str, target: str, extras: list[dict[str, str]]) -> None:
    """Copy the tree as it will be on the drive."""
    _copy_tree(os.fsencode(tree), os.fsencode(target), link=True)
    for extra in extras:
        _place(os.fsencode(target), extra)
    for directory, _, _ in os.walk(os.fsencode(target), topdown=False):
        os.utime(directory, ns=(EPOCH_NS, EPOCH_NS))


def _copy_tree(source: bytes, target: bytes, *, link: bool) -> None:
    """Copy directories and symbolic links, hard-link or copy files, and skip all other kinds."""
    waiting = [(source, target)]
    while waiting:
        here, there = waiting.pop()
        os.mkdir(there)
        os.chmod(there, stat.S_IMODE(os.stat(here).st_mode) | 0o555)
        with os.scandir(here) as entries:
            for entry in entries:
                name = os.path.join(there, entry.name)
                if entry.is_symlink():
                    _symlink(os.readlink(entry.path), name)
                elif entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, name))
                elif entry.is_file(follow_symlinks=False):
                    _add_file(entry.path, name, link)


def _symlink(pointing: bytes, name: bytes) -> None:
    os.symlink(pointing, name)
    os.utime(name, ns=(EPOCH_NS, EPOCH_NS), follow_symlinks=False)


def _add_file(source: bytes, name: bytes, link: bool) -> None:
    facts = os.stat(source, follow_symlinks=False)
    mode = stat.S_IMODE(facts.st_mode)
    wanted = _readable(mode)
    if link and mode == wanted:
        try:
            return os.link(source, name, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _UNLINKABLE:
                raise
    shutil.copyfile(source, name, follow_symlinks=False)
    os.chmod(name, wanted)
    when = facts.st_mtime_ns if link else EPOCH_NS
    os.utime(name, ns=(when, when))


def _place(target: bytes, extra: dict[str, str]) -> None:
    """Put an extra in place of anything there. The tree may be hostile: no link on the way is followed."""
    *parents, last = os.fsencode(extra["at"]).strip(b"/").split(b"/")
    if any(name in (b"", b".", b"..") for name in (*parents, last)):
        raise PackError(f"{extra['at']} is no place on a drive")
    here = target
    for name in parents:
        here = os.path.join(here, name)
        if not os.path.lexists(here):
            os.mkdir(here)
            os.chmod(here, 0o755)
        elif not stat.S_ISDIR(os.lstat(here).st_mode):
            raise PackError(f"{extra['at']}: {os.fsdecode(here[len(target) :])} is no directory in this root")
    place = os.path.join(here, last)
    if os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    elif os.path.lexists(place):
        os.unlink(place)
    if "directory" in extra:
        _copy_tree(os.fsencode(extra["directory"]), place, link=False)
    elif "file" in extra:
        _add_file(os.fsencode(extra["file"]), place, link=False)
    else:
        with open(place, "xb") as file:
            file.write(extra["text"].encode())
        os.chmod(place, 0o644)
        os.utime(place, ns=(EPOCH_NS, EPOCH_NS))


# --- packing


def make_file_system(tree: str, drive: str, lock: int) -> None:
    """`lock` stays open in the program, so that it outlives a packer that was killed while its program runs on."""
    command = ["mkfs.erofs", "--quiet", "--all-root", "--preserve-mtime", "-x-1", f"-U{IDENTITY}", drive, tree]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "SOURCE_DATE_EPOCH": BUILD_TIME}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, pass_fds=(lock,)
    )
    if done.returncode:
        if name := _long_name(tree):
            raise PackError(f"a name of {NAME_MAX} bytes, which mkfs.erofs 1.5 cannot pack: {name}")
        raise PackError(f"mkfs.erofs failed with status {done.returncode}: {done.stdout[-QUOTED:].decode(errors='replace').strip()}")


def _long_name(tree: str) -> str:
    """Find a name of the greatest length, if any."""
    for _, folders, files in os.walk(os.fsencode(tree)):
        for name in (*folders, *files):
            if len(name) >= NAME_MAX:
                return ascii(os.fsdecode(name))
    return ""


def publish(made: str, drive: str) -> None:
    """Round the drive's size up to whole blocks, sync it, and rename it into place."""
    with open(made, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        file.truncate(-(-size // BLOCK_BYTES) * BLOCK_BYTES)
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
    os.rename(made, drive)
    directory = os.open(os.path.dirname(drive), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave by the `finally`s
    os.nice(NICENESS)
    os.umask(0o022)
    try:
        pack(json.load(sys.stdin))
    except (PackError, OSError, shutil.Error) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
