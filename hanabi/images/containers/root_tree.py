"""A root directory under construction from hostile content: nothing outside of it is read, written, linked to or removed.

Every path is looked up by the kernel as if the root were `/` (openat2 with RESOLVE_IN_ROOT, Linux 5.6): a symbolic link in a layer leads
where it will lead in the container. Names are used only relative to a directory opened this way, and never followed.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.errors import ImageError

NODE_LIMIT = 500_000  # files, links and directories that are made, all layers together
DEPTH_LIMIT = 128  # directories below each other
PATH_LIMIT = 4095  # bytes
EXECUTABLE, READABLE = 0o755, 0o644  # all that is left of a mode: everybody may read, nobody gains by set-id bits

_SYS_OPENAT2 = 437  # on every machine
_NO_XDEV, _NO_MAGICLINKS, _IN_ROOT = 0x01, 0x02, 0x10
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LIBC = ctypes.CDLL(None, use_errno=True)
# What the file system answers to a name, a link or a depth that cannot be: the image's fault.
_FAULTS = frozenset(
    getattr(errno, name) for name in "ENAMETOOLONG EILSEQ EINVAL ELOOP ENOTDIR EEXIST EMLINK EXDEV EISDIR ENOENT ENOTEMPTY".split()
)


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


class RootTree:
    """The tree. Paths are bytes, relative to the root. Faults of the image are `ImageError` of kind "invalid"."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _DIRECTORY | os.O_NOFOLLOW)
        self._made = 0
        self._added: set[tuple[int, bytes]] = set()  # (inode of the directory, name): what this layer has

    def close(self) -> None:
        os.close(self._root)

    def begin_layer(self) -> None:
        """Begin a layer: whiteouts apply to earlier layers only."""
        self._added.clear()

    # --- making

    def directory(self, path: bytes) -> None:
        """Make a directory, or keep an existing one."""
        with self._parent(path) as (parent, name):
            self._make_directory(parent, name)

    def file(self, path: bytes, executable: bool) -> int:
        """Make a new, empty file in place of anything there; returns its descriptor, which the caller owns."""
        with self._parent(path) as (parent, name):
            self._clear(parent, name)
            mode = EXECUTABLE if executable else READABLE
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=parent)
            os.fchmod(file, mode)
            return file

    def symlink(self, path: bytes, target: bytes) -> None:
        if not target or len(target) > PATH_LIMIT or b"\0" in target:
            raise _invalid(f"{_say(path)} is a symbolic link to nowhere")
        with self._parent(path) as (parent, name):
            self._clear(parent, name)
            os.symlink(target, name, dir_fd=parent)

    def link(self, path: bytes, target: bytes) -> None:
        """Make a hard link to another file of the tree."""
        with self._parent(target) as (source, old), self._parent(path) as (parent, new):
            if not (stat.S_ISREG(mode := _mode(source, old)) or stat.S_ISLNK(mode)):
                raise _invalid(f"{_say(path)} is a hard link to {_say(target)}, which is no file")
            if (os.fstat(source).st_ino, old) == (os.fstat(parent).st_ino, new):
                return
            self._clear(parent, new)
            os.link(old, new, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def ensure_directory(self, path: bytes) -> None:
        """Make a directory at exactly this path, in place of anything else."""
        here = b""
        for part in path.split(b"/"):
            here = here + b"/" + part if here else part
            with self._parent(here) as (parent, name):
                if not stat.S_ISDIR(_mode(parent, name)):
                    self._clear(parent, name)
                    self._make_directory(parent, name)

    def has_directory(self, path: bytes) -> bool:
        """Whether a path leads to a directory, maybe through links."""
        directory = self._walk(_split(path), make=False)
        if directory >= 0:
            os.close(directory)
        return directory >= 0

    def set_mode(self, path: bytes, mode: int) -> None:
        with self._parent(path) as (parent, name):
            os.chmod(name, mode, dir_fd=parent)

    # --- whiteouts

    def hide(self, path: bytes) -> None:
        """Hide what earlier layers have at a path."""
        with self._parent(path, make=False) as (parent, name):
            if parent >= 0:
                self._hide(parent, name)

    def hide_all(self, path: bytes) -> None:
        """Hide what earlier layers have in a directory."""
        with self._parent(os.path.join(path, b"x"), make=False) as (directory, _):
            for name in os.listdir(directory) if directory >= 0 else ():
                self._hide(directory, os.fsencode(name))

    def _hide(self, parent: int, name: bytes) -> bool:
        """Hide an entry; returns whether nothing is left of it."""
        mode, added = _mode(parent, name), (os.fstat(parent).st_ino, name) in self._added
        if not mode:
            return True
        if not stat.S_ISDIR(mode):
            if not added:
                os.unlink(name, dir_fd=parent)
            return not added
        with _opened(parent, name) as directory:
            left = [child for child in os.listdir(directory) if not self._hide(directory, os.fsencode(child))]
        if left or added:
            return False
        os.rmdir(name, dir_fd=parent)
        return True

    # --- the way to a name

    @contextmanager
    def _parent(self, path: bytes, make: bool = True) -> Iterator[tuple[int, bytes]]:
        """Open a path's parent: (directory, last part). With `make`, missing directories are made; else the directory is -1."""
        parts = _split(path)
        try:
            directory = self._walk(parts[:-1], make)
            try:
                yield directory, parts[-1]
            finally:
                if directory >= 0:
                    os.close(directory)
        except OSError as error:
            if error.errno not in _FAULTS:
                raise
            raise _invalid(f"{_say(path)}: {error.strerror}") from None

    def _walk(self, parts: list[bytes], make: bool) -> int:
        try:
            return self._open(b"/".join(parts) or b".")
        except FileNotFoundError:
            if not make:
                return -1
        except NotADirectoryError:
            if not make:
                return -1
            raise
        parent = self._walk(parts[:-1], make)
        try:
            self._make_directory(parent, parts[-1])
        finally:
            os.close(parent)
        return self._open(b"/".join(parts))

    def _open(self, path: bytes) -> int:
        """Open a directory of the tree; symbolic links on the way stay inside the tree."""
        how = _How(_DIRECTORY, 0, _IN_ROOT | _NO_MAGICLINKS | _NO_XDEV)
        while True:
            descriptor = _LIBC.syscall(_SYS_OPENAT2, self._root, path, ctypes.byref(how), ctypes.sizeof(how))
            if descriptor >= 0:
                return int(descriptor)
            code = ctypes.get_errno()
            if code in (errno.ENOSYS, errno.EPERM):
                raise ImageError("images are unpacked with openat2, which this system does not have or forbids (Linux 5.6 is needed)")
            if code not in (errno.EAGAIN, errno.EINTR):
                raise OSError(code, os.strerror(code))

    def _make_directory(self, parent: int, name: bytes) -> None:
        if stat.S_ISDIR(_mode(parent, name)):
            self._note(parent, name)
            return
        if os.readlink(f"/proc/self/fd/{parent}").count("/") - self._depth() >= DEPTH_LIMIT:
            raise _invalid(f"more than {DEPTH_LIMIT} directories are below each other")
        self._clear(parent, name)
        os.mkdir(name, 0o700, dir_fd=parent)
        os.chmod(name, EXECUTABLE, dir_fd=parent)

    def _depth(self) -> int:
        return os.readlink(f"/proc/self/fd/{self._root}").count("/")

    def _clear(self, parent: int, name: bytes) -> None:
        """Clear a path for a new entry."""
        self._made += 1
        if self._made > NODE_LIMIT:
            raise _invalid(f"it has more than {NODE_LIMIT} files and directories")
        _remove(parent, name)
        self._note(parent, name)

    def _note(self, parent: int, name: bytes) -> None:
        self._added.add((os.fstat(parent).st_ino, name))


def _split(path: bytes) -> list[bytes]:
    """Split a path; an absolute one starts at the root. Raises `ImageError` for `..`, or for the root itself."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if len(path) > PATH_LIMIT or b".." in parts or b"\0" in path or not parts or len(parts) > DEPTH_LIMIT:
        raise _invalid(f"{_say(path)} is no path that an image may have")
    return parts


def _mode(parent: int, name: bytes) -> int:
    """The mode of a file; 0 when absent."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _remove(parent: int, name: bytes) -> None:
    mode = _mode(parent, name)
    if not mode:
        return
    if not stat.S_ISDIR(mode):
        os.unlink(name, dir_fd=parent)
        return
    with _opened(parent, name) as directory:
        for child in os.listdir(directory):
            _remove(directory, os.fsencode(child))
    os.rmdir(name, dir_fd=parent)


@contextmanager
def _opened(parent: int, name: bytes) -> Iterator[int]:
    directory = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield directory
    finally:
        os.close(directory)


def _invalid(message: str) -> ImageError:
    return ImageError(message, "invalid")


def _say(path: bytes) -> str:
    shown = repr(os.fsdecode(path))
    return shown if len(shown) <= 120 else f"{shown[:120]}..."
