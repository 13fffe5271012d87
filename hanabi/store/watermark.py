"""A database's last revision, kept in a second file to find acknowledged writes that the database has lost.

`<name>.revision` is written after every commit, before the caller is answered, and synced within about a second. A database
that is behind it has lost its last writes: its WAL was cut or left behind, or an older file was put in its place. `<name>.lost` says so
until an operator removes it.
"""

import logging
import os
import time
import zlib
from pathlib import Path

SYNC_INTERVAL_S = 1.0
log = logging.getLogger(__name__)


class Watermark:
    """The watermark of one database. Used by the database's thread."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = database.with_name(f"{database.name}.revision")
        self._marker = database.with_name(f"{database.name}.lost")
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._written = self._synced = -1
        self._synced_at = 0.0

    def compare(self, found: int) -> str:
        """Describe lost writes, found now or at an earlier start and not acknowledged yet; empty: none."""
        known = self._read()
        if known > found:
            self._mark(known, found)
        self.note(found)
        self.sync()
        try:
            told = self._marker.read_text(errors="replace").strip()
        except FileNotFoundError:
            return ""
        return (
            f"{self._database} has lost changes that were acknowledged ({told}): its -wal file was cut or left behind, or an older file "
            f"was put in its place. What is there is served. Stop Hanabi and restore the file with its -wal; "
            f"or, if nothing better is to be had, remove {self._marker}"
        )

    def note(self, revision: int) -> None:
        """Note a revision, cheaply: it survives a crash of the process, and after the next `sync` a power cut."""
        if revision != self._written:
            text = b"%020d" % revision
            os.pwrite(self._file, b"%s %08x\n" % (text, zlib.crc32(text)), 0)
            self._written = revision

    def sync(self, interval_s: float = 0.0) -> None:
        now = time.monotonic()
        if self._written != self._synced and now - self._synced_at >= interval_s:
            os.fdatasync(self._file)
            self._synced, self._synced_at = self._written, now

    def close(self) -> None:
        try:
            self.sync()
        finally:
            os.close(self._file)

    def _read(self) -> int:
        """Read the revision; -1: there is no file, or it is damaged."""
        text = os.pread(self._file, 64, 0)
        try:
            number, check = text.split()
            if int(check, 16) != zlib.crc32(number):
                raise ValueError("its checksum is another one")
            return int(number)
        except ValueError as error:
            if text:
                log.warning("%s is damaged, and is made anew: %s", self._path, error)
            return -1

    def _mark(self, known: int, found: int) -> None:
        with self._marker.open("a") as file:
            file.write(f"it had come to revision {known}, and is at {found}\n")
            file.flush()
            os.fsync(file.fileno())
