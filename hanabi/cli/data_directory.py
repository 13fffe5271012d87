"""The data directory: created with mode 0711 where needed, and locked by one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hanabi.base.locks import try_acquire
from hanabi.cli.failure import Failure


def make_directory(directory: Path) -> None:
    """Create it. Others may traverse, not list it: sandboxes have other uids, and the user behind sudo reads the key."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o711, exist_ok=True)
    mode = directory.stat().st_mode
    if mode & 0o111 != 0o111:
        directory.chmod(mode & 0o7777 | 0o111)


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Lock the directory for this process. The lock ends with the process, however it ends."""
    make_directory(directory)
    with (directory / "lock").open("a+") as file:
        if not try_acquire(file.fileno()):
            file.seek(0)
            owner = file.read(20).strip() or "unknown"
            raise Failure(f"{directory} is in use by another hanabi (process {owner}); stop it or name another --data-dir")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
