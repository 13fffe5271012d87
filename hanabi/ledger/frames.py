"""The journal's format: framed text, cheap to write on the warm path; the index takes it over without parsing it again.

segment  head, frames
head     "HNBJRNL\\n", u32 version, u32 crc32 (of both)
frame    mark, u32 length, u32 crc32 (both of the payload, little-endian), payload
payload  header line, then one line per log event; UTF-8
header   kind, group, stream, first ms, last ms, record; set apart by tabs. The record of an invocation is a JSON array of RECORD_FIELDS
event    Unix ms, a space, the text. A newline inside the text is followed by a space, which no event begins with

The lines START, END and REPORT of a frame of kind TEXT are not in it: the index makes them of its record. Version 1 had no such frames.

The mark is made of bytes that UTF-8 never has, so no payload contains one, whatever a function prints; a length's high byte is no such byte
either, and behind a checksum that looks like a mark comes a payload, whose first bytes are no length. So every mark begins a frame,
and a reader skips damaged bytes up to the next one. Version 0 had neither head nor mark: damage ends its reading.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

from hanabi.contracts.journal import LogEvent, Record
from hanabi.ledger.report import text_events
from hanabi.quotas import LOG_EVENT_BYTES

VERSION = 2

LINES = "L"  # what an environment printed: lines, whose newline was taken off
EXACT = "P"  # what PutLogEvents brought: the text as it is
FINISH = "F"  # as LINES, with an invocation's record in the header
TEXT = "T"  # as FINISH, but for START, END and REPORT. Instead of first and last ms: when START was (nothing: it is elsewhere), and END
DELETE = "D"  # what was before it in that stream, or in all of that group where no stream is named, is deleted

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
    "restore_ms",  # from here on: since version 1
    "restore_hooks_ms",
    "attempt",
    "extensions_ms",  # missing where there is none
    "tenant",  # likewise
)

FRAME_LIMIT_BYTES = 8 * 1024 * 1024  # bytes of a frame of more than one event
SPAN_LIMIT_MS = 3_600_000  # from a frame's first event to its last: a search by time need look no further back

_MISSING: tuple[Any, ...] = (None,) * len(RECORD_FIELDS)
_decode_json = json.JSONDecoder().raw_decode
MARK = b"\xff\xfe\xfd\xfc"
_MAGIC = b"HNBJRNL\n"
_HEAD = struct.Struct("<8sII")
_PREFIX = struct.Struct("<4sII")
_PREFIX_0 = struct.Struct("<II")
_LENGTH_LIMIT_BYTES = 2 * FRAME_LIMIT_BYTES  # what a reader takes for a frame at all
HEAD_BYTES = _HEAD.size


class FrameTooLarge(ValueError):
    """Events that do not fit one frame, in bytes or in time span: write them as two."""


# --- writing ----------------------------------------------------------------------------------------------------------


def encode_head(version: int = VERSION) -> bytes:
    return _HEAD.pack(_MAGIC, version, zlib.crc32(_MAGIC + version.to_bytes(4, "little")))


def encode(kind: str, group: str, stream: str, events: Sequence[LogEvent], record: Record | None = None) -> bytes:
    """Encode one frame. Raises `FrameTooLarge` when two or more events do not fit."""
    first, last = (min(events)[0], max(events)[0]) if events else (0, 0)
    header = f"{kind}\t{group}\t{stream}\t{first}\t{last}\t{'' if record is None else _encode_record(record)}\n"
    payload = (header + _encode_events(events)).encode("utf-8", "replace")
    if len(events) > 1 and (len(payload) > FRAME_LIMIT_BYTES or last - first > SPAN_LIMIT_MS):
        raise FrameTooLarge(len(payload))
    return _PREFIX.pack(MARK, len(payload), zlib.crc32(payload)) + payload


def encode_text(record: Record, group: str, stream: str, events: Sequence[LogEvent], start_ms: int | None, end_ms: int) -> bytes:
    """Encode one frame of kind TEXT. Raises `FrameTooLarge`; never for a record alone."""
    text = f"{TEXT}\t{group}\t{stream}\t{'' if start_ms is None else start_ms}\t{end_ms}\t{_encode_record(record)}\n"
    span_ms = 0 if start_ms is None else abs(end_ms - start_ms)
    if events:
        text += _encode_events(events)
        times = [end_ms if start_ms is None else start_ms, end_ms, min(events)[0], max(events)[0]]
        span_ms = max(times) - min(times)
    payload = text.encode("utf-8", "replace")
    if span_ms > SPAN_LIMIT_MS or len(payload) > FRAME_LIMIT_BYTES:
        raise FrameTooLarge(len(payload))
    return _PREFIX.pack(MARK, len(payload), zlib.crc32(payload)) + payload


def _encode_events(events: Sequence[LogEvent]) -> str:
    lines = "".join([f"{when} {text}\n" for when, text in events])
    if len(lines) > LOG_EVENT_BYTES // 4 or lines.count("\n") > len(events):  # only then can one be too long in UTF-8
        lines = "".join([f"{when} {_to_line(text)}\n" for when, text in events])
    return lines


def _to_line(text: str) -> str:
    if len(text) > LOG_EVENT_BYTES // 4:
        text = text.encode("utf-8", "replace")[:LOG_EVENT_BYTES].decode("utf-8", "ignore")
    return text.replace("\n", "\n ")


def _encode_record(record: Record) -> str:
    """Encode a record as a JSON array in the order of RECORD_FIELDS. Unrolled, because this is the warm path."""
    plain = record.init_ms is None and record.error_type is None and record.restore is None and record.extensions_ms is None
    if plain and not record.tenant:
        texts = f"{record.request_id}{record.function}{record.version}{record.status}{record.environment}{record.source}{record.trace}"
        if len(_quote(texts)) == len(texts) + 2:  # nothing in them is to be escaped
            return (
                f'["{record.request_id}","{record.function}","{record.version}",{record.memory_mb},{record.started_ms},'
                f'{record.duration_ms!r},{record.billed_ms},null,{record.max_memory_mb},"{record.status}",null,'
                f'"{record.environment}","{record.source}","{record.trace}",null,null,{record.attempt}]'
            )
    return (
        f"[{_quote(record.request_id)},{_quote(record.function)},{_quote(record.version)},{record.memory_mb},{record.started_ms},"
        f"{record.duration_ms!r},{record.billed_ms},{'null' if record.init_ms is None else repr(record.init_ms)},"
        f"{record.max_memory_mb},{_quote(record.status)},{'null' if record.error_type is None else _quote(record.error_type)},"
        f"{_quote(record.environment)},{_quote(record.source)},{_quote(record.trace)}"
        f"{',null,null' if record.restore is None else f',{record.restore[0]!r},{record.restore[1]!r}'},{record.attempt}"
        f"{_encode_rest(record)}]"
    )


def _encode_rest(record: Record) -> str:
    """Encode what few records have: extensions_ms and tenant."""
    if not record.tenant:
        return "" if record.extensions_ms is None else f",{record.extensions_ms!r}"
    return f",{'null' if record.extensions_ms is None else repr(record.extensions_ms)},{_quote(record.tenant)}"


# --- reading ----------------------------------------------------------------------------------------------------------


def version_of(head: bytes) -> int:
    """The format version of a segment that begins with `head`. A damaged head counts as the current version: frames are found by marks."""
    if len(head) >= HEAD_BYTES:
        magic, version, crc = _HEAD.unpack_from(head)
        if magic == _MAGIC and crc == zlib.crc32(head[: HEAD_BYTES - 4]):
            return int(version)
    if _size_0(head) and head[8:10] in (b"L\t", b"P\t", b"F\t"):
        return 0
    return VERSION


def frame_size(data: bytes, version: int = VERSION) -> int:
    """Size in bytes of the frame at the start of `data`; 0 when there is none."""
    if version == 0:
        return _size_0(data)
    if not data.startswith(MARK) or len(data) < _PREFIX.size:
        return 0
    length = int(_PREFIX.unpack_from(data)[1])
    return length + _PREFIX.size if 0 < length <= _LENGTH_LIMIT_BYTES else 0


def split(data: bytes, version: int = VERSION) -> Iterator[tuple[bytes | None, int]]:
    """Yield (payload, end offset) of each whole frame; payload None: damaged bytes.

    An incomplete frame at the end of `data` is left: it was torn, or more is to be read. Linear time.
    """
    if version == 0:
        yield from _split_0(data)
        return
    offset = 0
    following = data.find(MARK)
    while True:
        start = following
        if start < 0:
            # What cannot be the beginning of a mark is damaged; zeros are a hole that a power cut left at the end.
            if data.count(0, offset) < len(data) - offset and len(data) - offset >= len(MARK):
                yield None, len(data) - len(MARK) + 1
            return
        if start > offset:
            yield None, start
        following = data.find(MARK, start + len(MARK))
        size = frame_size(data[start : start + _PREFIX.size])
        offset = start + size
        if size and offset <= (len(data) if following < 0 else following):
            payload = data[start + _PREFIX.size : offset]
            if zlib.crc32(payload) == _PREFIX.unpack_from(data, start)[2]:
                yield payload, offset
                continue
        elif following < 0 and (size or len(data) - start < _PREFIX.size):
            return
        offset = following if following >= 0 else max(start + len(MARK), len(data) - len(MARK) + 1)  # a mark may be cut there
        yield None, offset


def decode(data: bytes, version: int = VERSION) -> Iterator[tuple[list[str] | None, bytes, int]]:
    """Yield (header fields, event lines, end offset) of each whole frame; header None: damaged bytes."""
    for payload, end in split(data, version):
        if payload is None:
            yield None, b"", end
            continue
        header, _, events = payload.partition(b"\n")
        yield header.decode().split("\t"), events, end


def complete(header: Sequence[str], lines: bytes) -> tuple[int, int, bytes]:
    """Return (first ms, last ms, event lines) of a frame of kind TEXT, with the lines that its record makes."""
    start_ms, end_ms = int(header[3]) if header[3] else None, int(header[4])
    made = text_events(decode_record(header[5]), (), start_ms, end_ms)
    times = [end_ms if start_ms is None else start_ms, end_ms]
    if not lines:
        return min(times), max(times), _encode_events(made).encode("utf-8", "replace")
    times += [when for when, _ in decode_events(lines)]
    started, ended = (_encode_events(events).encode("utf-8", "replace") for events in (made[:-2], made[-2:]))  # END and REPORT come last
    return min(times), max(times), started + lines + ended


def decode_record(text: str) -> Record:
    """Decode the record of a frame's header, of any version."""
    return record_of(_decode_json(text)[0])


def record_of(values: Sequence[Any]) -> Record:
    """Make a record from the values of RECORD_FIELDS."""
    *before, restore_ms, hooks_ms, attempt, extensions_ms, tenant = [*values, *_MISSING[len(values) :]]
    restore = None if restore_ms is None else (restore_ms, hooks_ms)
    fields = dict(zip(RECORD_FIELDS, before, strict=False))
    # Records that were written before there were attempts have none.
    return Record(**fields, restore=restore, attempt=attempt or 1, extensions_ms=extensions_ms, tenant=tenant or "")


def decode_events(lines: bytes) -> Iterator[LogEvent]:
    """Decode event lines, in order."""
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


def _size_0(data: bytes) -> int:
    length = int(_PREFIX_0.unpack_from(data)[0]) if len(data) >= _PREFIX_0.size else 0
    return length + _PREFIX_0.size if 0 < length <= _LENGTH_LIMIT_BYTES else 0


def _split_0(data: bytes) -> Iterator[tuple[bytes | None, int]]:
    offset = 0
    while size := _size_0(data[offset : offset + _PREFIX_0.size]):
        start, offset = offset + _PREFIX_0.size, offset + size
        if offset > len(data):
            return
        payload = data[start:offset]
        if zlib.crc32(payload) != _PREFIX_0.unpack_from(data, start - _PREFIX_0.size)[1]:
            yield None, len(data)
            return
        yield payload, offset
    if data.count(0, offset) < len(data) - offset and len(data) - offset >= _PREFIX_0.size:
        yield None, len(data)
