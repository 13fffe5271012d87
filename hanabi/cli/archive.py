"""A zip file to deploy in place of a folder, as it is; files that tell its handler are extracted for inspection."""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from hanabi.cli.failure import Failure
from hanabi.cli.handlers import candidates

INSPECTED_BYTES = 1 << 20  # of one file
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError)


def inspect_archive(archive: Path, view: Path, handlers: Iterable[str]) -> list[str]:
    """Return the names of its files. Possible handler files, by usual names or `handlers`, are extracted into `view`."""
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
