"""A zip file in place of a folder: deployed as it is; what tells its handler is taken out of it to be looked at."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from hanabi.cli.failure import Failure
from hanabi.cli.handlers import candidates

INSPECTED_BYTES = 1 << 20  # of one file
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError)


def inspect_archive(archive: Path, view: Path, handlers: Iterable[str]) -> list[str]:
    """The names of its files. Those that may be entered, by their usual names or by `handlers`, are put into `view`."""
    wanted = candidates(handlers)
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [entry for entry in source.infolist() if not entry.is_dir()]
            for entry in entries:
                if entry.filename in wanted:
                    path = view / entry.filename
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with source.open(entry) as file:
                        path.write_bytes(file.read(INSPECTED_BYTES) if entry.file_size <= INSPECTED_BYTES else b"")
                    path.chmod(0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
    except _DAMAGE as error:
        raise Failure(f"{archive} is no zip file that can be read: {error}", 2) from None
    return [entry.filename for entry in entries]
