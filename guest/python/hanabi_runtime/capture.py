"""Being copied: in a container, where no machine can be snapshotted, the process stops itself and its memory is copied.

docs/architecture.md, "Process snapshots". What the kernel keeps for a process and a copy of its memory lacks (open files, the contents
of /tmp, the working directory) is noted before and made again after, in each copy, before anything of the function's runs.
"""

import os
from typing import Any

from hanabi_runtime.channel import BundledChannel
from hanabi_runtime.descriptors import Descriptors, NotCopiable
from hanabi_runtime.errors import HERE
from hanabi_runtime.standard import fetch

TMP = "/tmp"
TMP_LIMIT_BYTES = 64 * 1024 * 1024  # they are kept in memory
LOADED = b"\1\0\0\0l"


def is_wanted() -> bool:
    return os.environ.pop("HANABI_CAPTURE", None) is not None


def stop(channel: BundledChannel) -> None:
    """Stop until this is a copy. If there can be none, say so to the host, which knows what to do, and wait as any other process."""
    try:
        library = fetch("ctypes").PyDLL(os.path.join(HERE, "capture.so"))  # whose calls keep the interpreter's lock: no other thread runs
    except OSError:
        channel.send(b"l")  # the host finds nothing that it could copy
        return
    try:
        _refuse_children()
        kept, files = Descriptors({0, 1, 2, channel.fileno()}), _read_files()
        directory = os.getcwd()
    except (NotCopiable, OSError) as error:
        library.refuse(str(error).encode("ascii", "replace"))
        channel.send(b"l")
        return
    fetch("gc").collect()
    if not library.capture(channel.fileno(), LOADED, len(LOADED)):
        channel.send(b"l")
        return
    _write_files(files)
    files.clear()
    kept.make_again()
    os.chdir(directory)
    library.resume()


def _refuse_children() -> None:
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as children:
            if children.read().strip():
                raise NotCopiable("its init has started processes")
    if any(fetch("signal").getitimer(timer)[0] for timer in range(3)):
        raise NotCopiable("its init has set a timer")


def _read_files() -> list[tuple[str, os.stat_result, Any]]:
    """Everything below /tmp: (path, its attributes, its bytes, the target of a link, or None of a directory)."""
    found: list[tuple[str, os.stat_result, Any]] = []
    total, stat = 0, fetch("stat")
    for directory, directories, names in os.walk(TMP):
        for name in [*directories, *names]:
            path = os.path.join(directory, name)
            about = os.lstat(path)
            content: Any = None
            if stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(about.st_mode):
                total += about.st_size
                if total > TMP_LIMIT_BYTES:
                    raise NotCopiable(f"its init has left more than {TMP_LIMIT_BYTES >> 20} MB in /tmp")
                with open(path, "rb") as file:
                    content = file.read(TMP_LIMIT_BYTES)
            elif not stat.S_ISDIR(about.st_mode):
                raise NotCopiable("its init has left something in /tmp that is no file")
            found.append((path, about, content))
    return found


def _write_files(files: list[tuple[str, os.stat_result, Any]]) -> None:
    for path, _, content in files:
        if isinstance(content, str):
            os.symlink(content, path)
            continue
        if content is None:
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                file.write(content)
    for path, about, content in reversed(files):  # a directory after what is in it
        if not isinstance(content, str):
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
            os.chmod(path, about.st_mode & 0o7777)
