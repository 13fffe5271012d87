"""Moves the journal into the index, a part at a time, and keeps damaged segments aside."""

import errno
import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from hanabi.errors import StateTooNew
from hanabi.ledger.frames import HEAD_BYTES, MARK, VERSION, encode_head, frame_size, version_of
from hanabi.ledger.index import JournalPosition, add_frames, read_counted, read_progress, write_progress
from hanabi.ledger.segments import list_segments, segment_path

log = logging.getLogger(__name__)

READ_BYTES = 8 * 1024 * 1024  # journal bytes in one transaction of the index; more when one frame is larger
DAMAGED_KEPT = 16  # damaged segments kept aside; the oldest go
_BLOCK = 4096  # what a disk cannot read is left out in such pieces


@dataclass(frozen=True, slots=True)
class SegmentPart:
    """Bytes of a segment from `start` on; `whole`: up to its end."""

    data: bytes
    start: int
    version: int
    whole: bool


@dataclass(frozen=True, slots=True)
class IndexStep:
    """The index's new position, and the damage that was found."""

    position: JournalPosition
    size: int  # bytes read
    damaged_bytes: int
    first_ms: int | None  # when the earliest of the invocations that were counted began


def check_versions(directory: Path) -> None:
    """Raise `StateTooNew` for a segment of an unknown format, before anything is written."""
    for number in list_segments(directory):
        path = segment_path(directory, number)
        with path.open("rb") as file:
            version = version_of(file.read(HEAD_BYTES))
        if version > VERSION:
            raise StateTooNew(path, version, VERSION)


def index_step(connection: sqlite3.Connection, directory: Path, end: JournalPosition, now_ms: int, *, logs: bool = True) -> IndexStep:
    """Index about READ_BYTES more of the journal, in the caller's transaction. `end` is the writer's position."""
    number, offset = read_progress(connection)
    counted = read_counted(connection)
    counts = (number, offset) >= counted
    path = segment_path(directory, number)
    # Beyond the writer's place, a frame may be half-written; up to `counted`, the sums are not to be added to.
    limits = [place[1] for place in ([end] if counts else [end, counted]) if place[0] == number]
    part = read_part(path, offset, min(limits, default=None))
    added = add_frames(connection, part.data, now_ms, part.version, counts=counts, logs=logs)
    if part.data and not added.taken and not part.whole:  # a hole larger than a part
        added.taken = added.damaged = len(part.data) - len(MARK) + 1
    if added.damaged:
        keep_damaged(directory, number)
        log.error("%s is damaged: %d bytes between offsets %d and %d", path, added.damaged, part.start, part.start + added.taken)
    if added.taken:
        position = (number, part.start + added.taken)
    elif not counts and number == counted[0] and offset < counted[1]:
        position = counted
    elif number < end[0]:
        if part.data:
            log.warning("%s ends in a torn frame: %d bytes dropped", path.name, len(part.data))
        position = (min(n for n in [*list_segments(directory), end[0]] if n > number), 0)
    else:
        position = end
    write_progress(connection, *position)
    return IndexStep(position, len(part.data), added.damaged, added.first_ms)


def read_part(path: Path, offset: int, limit: int | None) -> SegmentPart:
    """Read about READ_BYTES bytes from `offset`, and at least one whole frame if there is one."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return SegmentPart(b"", offset, VERSION, True)
    with file:
        fd = file.fileno()
        head = _read(fd, HEAD_BYTES, 0)
        version = version_of(head)
        if offset == 0 and head == encode_head(version):
            offset = HEAD_BYTES
        end = os.fstat(fd).st_size if limit is None else limit
        data = _read(fd, min(READ_BYTES, end - offset), offset)
        wanted = min(frame_size(data, version), end - offset)
        if len(data) < wanted:
            data += _read(fd, wanted - len(data), offset + len(data))
        return SegmentPart(data, offset, version, offset + len(data) >= end)


def _read(fd: int, size: int, offset: int) -> bytes:
    """Read everything asked for; zeros for what the disk cannot read."""
    parts: list[bytes] = []
    end = offset + size
    while offset < end:
        try:
            part = os.pread(fd, end - offset, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            stop = min(offset // _BLOCK * _BLOCK + _BLOCK, end)
            try:
                part = os.pread(fd, stop - offset, offset)
            except OSError:
                part = bytes(stop - offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def keep_damaged(directory: Path, number: int) -> None:
    """Link a segment into `damaged/`, so that it stays after it has been indexed."""
    aside = directory / "damaged"
    path = segment_path(directory, number)
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        if not segment_path(aside, number).exists():
            os.link(path, segment_path(aside, number))
        for old in list_segments(aside)[:-DAMAGED_KEPT]:
            segment_path(aside, old).unlink()
    except OSError as error:
        log.error("%s is damaged, and cannot be kept aside: %s", path, error)


def retire(directory: Path, before: int, limit: int) -> int:
    """Remove segments numbered below `before`, which are of use only where the index is lost: the oldest, while they are over `limit`
    bytes. Returns how many."""
    kept = [number for number in list_segments(directory) if number < before]
    sizes = [segment_path(directory, number).stat().st_size for number in kept]
    excess = sum(sizes) - limit
    removed = 0
    for number, size in zip(kept, sizes, strict=True):
        if excess <= 0:
            break
        segment_path(directory, number).unlink()
        excess -= size
        removed += 1
    return removed
