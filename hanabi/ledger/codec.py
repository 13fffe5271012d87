"""The journal's bytes: framed text, cheap to write on the warm path and to move into the index without being parsed again.

frame    u32 length, u32 crc32 (both of the payload, little-endian), payload
payload  header line, then one line per log event
header   kind, group, stream, first ms, last ms, record; set apart by tabs. The record of an invocation is a JSON array of RECORD_FIELDS
event    Unix ms, a space, the text. A newline inside the text is followed by a space, which no event begins with
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as _quote

from hanabi.contracts import LogEvent, Record

LINES = "L"  # what an environment printed: lines, whose newline was taken off
EXACT = "P"  # what PutLogEvents brought: the text as it is
FINISH = "F"  # as LINES, with an invocation's record in the header

RECORD_FIELDS = (
    "request_id",
    "function",
    "version",
    "memory_mb",
    "started_ms",
    "duration_ms",
    "billed_ms",
    "init_ms",
    "max_memory_mb",
    "status",
    "error_type",
    "environment",
    "source",
    "trace",
)

EVENT_LIMIT = 1024 * 1024  # bytes of one log event, as in CloudWatch Logs
FRAME_LIMIT = 8 * 1024 * 1024  # bytes of a frame of more than one event
SPAN_LIMIT_MS = 3_600_000  # from a frame's first event to its last: a search by time need look no further back

_PREFIX = struct.Struct("<II")
_LENGTH_LIMIT = 2 * FRAME_LIMIT  # what a reader takes for a frame at all


class FrameTooLarge(ValueError):
    """The events do not fit one frame, in bytes or in time: write them as two."""


def encode(kind: str, group: str, stream: str, events: Sequence[LogEvent], record: Record | None = None) -> bytes:
    """One frame. Raises `FrameTooLarge` when there are two events or more and they do not fit."""
    times = [event[0] for event in events] or [0]
    first, last = min(times), max(times)
    lines = [f"{kind}\t{group}\t{stream}\t{first}\t{last}\t{'' if record is None else _encode_record(record)}\n"]
    for when, text in events:
        if len(text) > EVENT_LIMIT // 4:  # only then can it be too long in UTF-8
            text = text.encode("utf-8", "replace")[:EVENT_LIMIT].decode("utf-8", "ignore")
        lines.append(f"{when} {text}\n" if "\n" not in text else f"{when} {text.replace(chr(10), chr(10) + ' ')}\n")
    payload = "".join(lines).encode("utf-8", "replace")
    if len(events) > 1 and (len(payload) > FRAME_LIMIT or last - first > SPAN_LIMIT_MS):
        raise FrameTooLarge(len(payload))
    return _PREFIX.pack(len(payload), zlib.crc32(payload)) + payload


def _encode_record(record: Record) -> str:
    """A JSON array in the order of RECORD_FIELDS. Written out, because this is the warm path."""
    return (
        f"[{_quote(record.request_id)},{_quote(record.function)},{_quote(record.version)},{record.memory_mb},{record.started_ms},"
        f"{record.duration_ms:.3f},{record.billed_ms},{'null' if record.init_ms is None else f'{record.init_ms:.3f}'},"
        f"{record.max_memory_mb},{_quote(record.status)},{'null' if record.error_type is None else _quote(record.error_type)},"
        f"{_quote(record.environment)},{_quote(record.source)},{_quote(record.trace)}]"
    )


def frame_size(data: bytes) -> int:
    """Bytes of the frame that `data` begins with, 0 when it begins with none."""
    length = int(_PREFIX.unpack_from(data)[0]) if len(data) >= _PREFIX.size else 0
    return length + _PREFIX.size if 0 < length <= _LENGTH_LIMIT else 0


def decode(data: bytes) -> Iterator[tuple[list[str], bytes, int]]:
    """(header fields, event lines, where the frame ends) of each whole frame; ends before one that is torn or is not one."""
    offset = 0
    while offset + _PREFIX.size <= len(data):
        length, crc = _PREFIX.unpack_from(data, offset)
        start = offset + _PREFIX.size
        offset = start + length
        if not 0 < length <= _LENGTH_LIMIT or offset > len(data):
            return
        payload = data[start:offset]
        if zlib.crc32(payload) != crc:
            return
        header, _, events = payload.partition(b"\n")
        yield header.decode().split("\t"), events, offset


def decode_events(lines: bytes) -> Iterator[LogEvent]:
    """The events of event lines, in order."""
    when, parts = "", [""]
    for line in lines.decode().split("\n")[:-1]:
        if line.startswith(" "):
            parts.append(line[1:])
            continue
        if when:
            yield int(when), "\n".join(parts)
        when, _, text = line.partition(" ")
        parts = [text]
    if when:
        yield int(when), "\n".join(parts)
