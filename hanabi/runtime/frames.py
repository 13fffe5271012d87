"""The runtime channel's frame codec, without I/O: bytes become (type, body). Sizes are checked before anything is buffered.

`u32 length (little-endian, of what follows)`, `u8 type`, body. docs/architecture.md, "Runtime channel".
"""

import json
import struct
from collections.abc import Iterator, Mapping

from hanabi.contracts.invocation import Invocation

FRAME_LIMIT_BYTES = 6 * 1024 * 1024 + 64 * 1024  # bytes after the length
SKIP_LIMIT_BYTES = 64 * 1024 * 1024  # a frame over the limit is skipped up to here; our bootstraps never send more
TEXT_LIMIT_BYTES = 8 * 1024  # letters of a trace or client context: the header's length is a u16
HEAD = struct.Struct("<IB")
INVOKE_HEAD = struct.Struct("<IBH")

INIT, INVOKE, RESTORED = ord("i"), ord("n"), ord("a")
LOADED, READY, INIT_ERROR, RESULT, ERROR, FATAL = ord("l"), ord("r"), ord("e"), ord("o"), ord("f"), ord("x")
LOADED_FRAME = HEAD.pack(1, LOADED)  # all of it: it has no body
READY_FRAME = HEAD.pack(1, READY)
STREAM, CHUNK, END = ord("s"), ord("c"), ord("d")  # an answer in pieces
CHUNK_LIMIT_BYTES = 256 * 1024  # of one piece
OVERSIZE = 0  # in place of the type of a frame that was over the limit and skipped


class BrokenFrame(Exception):
    """A malformed frame."""


def init_frame(environment: Mapping[str, str], handler: str, task_root: str, *, generic: bool) -> bytes:
    body = json.dumps({"environment": dict(environment), "handler": handler, "task_root": task_root, "generic": generic}).encode()
    return HEAD.pack(len(body) + 1, INIT) + body


def restored_frame(environment: Mapping[str, str]) -> bytes:
    body = json.dumps({"environment": dict(environment)}).encode()
    return HEAD.pack(len(body) + 1, RESTORED) + body


def invoke_head(invocation: Invocation) -> bytes:
    """Encode an invoke frame up to its payload, which is sent unchanged."""
    trace, context = invocation.trace[:TEXT_LIMIT_BYTES], invocation.client_context[:TEXT_LIMIT_BYTES]
    route = invocation.route
    header = f"{invocation.request_id}\n{invocation.deadline_ms}\n{route.invoked_arn}\n{trace}\n{route.version.tenant}\n{context}".encode()
    return INVOKE_HEAD.pack(len(header) + len(invocation.payload) + 3, INVOKE, len(header)) + header


class FrameReader:
    """Splits a stream into frames. A runtime sends at most an answer and `r` at once; the state table refuses more."""

    __slots__ = ("_head", "_frame", "_have", "_skip")

    def __init__(self) -> None:
        self._head = b""  # less than a frame's head
        self._frame: bytearray | None = None  # a frame under way, allocated whole
        self._have = 0  # bytes of it
        self._skip = 0  # bytes left of an oversize frame

    @property
    def between(self) -> bool:
        """Whether the next byte begins a frame."""
        return not (self._head or self._skip) and self._frame is None

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield complete frames; iterate to the end, or use the reader no more. Raises `BrokenFrame`."""
        if self._head:
            data = self._head + data
            self._head = b""
        at, end = 0, len(data)
        while at < end:
            if self._frame is not None:
                frame, at = self._fill(self._frame, data, at)
            elif self._skip:
                frame, at = self._drop(data, at)
            else:
                frame, at = self._next(data, at)
            if frame is not None:
                yield frame

    def _next(self, data: bytes, at: int) -> tuple[tuple[int, bytes] | None, int]:
        left = len(data) - at
        if left < HEAD.size:
            if left >= 4 and data.startswith(bytes(4), at):
                raise BrokenFrame("a frame without a type")
            self._head = data[at:]
            return None, len(data)
        length, kind = HEAD.unpack_from(data, at)
        end = at + 4 + length
        if end <= len(data) and 0 < length <= FRAME_LIMIT_BYTES:
            return (kind, data[at + HEAD.size : end]), end
        return self._begin(length, kind, data, at)

    def _begin(self, length: int, kind: int, data: bytes, at: int) -> tuple[tuple[int, bytes] | None, int]:
        if length == 0:
            raise BrokenFrame("a frame without a type")
        if kind == CHUNK and length > CHUNK_LIMIT_BYTES + 1:
            raise BrokenFrame(f"a piece of {length - 1} bytes")
        if length <= FRAME_LIMIT_BYTES:
            self._frame = bytearray(4 + length)
            self._have = 0
            return self._fill(self._frame, data, at)
        if kind not in (RESULT, ERROR) or length > SKIP_LIMIT_BYTES:
            raise BrokenFrame(f"a frame of {length} bytes")
        self._skip = 4 + length
        return self._drop(data, at)

    def _fill(self, frame: bytearray, data: bytes, at: int) -> tuple[tuple[int, bytes] | None, int]:
        end = min(len(data), at + len(frame) - self._have)
        frame[self._have : self._have + end - at] = memoryview(data)[at:end]
        self._have += end - at
        if self._have < len(frame):
            return None, end
        self._frame = None
        return (frame[4], bytes(memoryview(frame)[HEAD.size :])), end

    def _drop(self, data: bytes, at: int) -> tuple[tuple[int, bytes] | None, int]:
        size = min(self._skip, len(data) - at)
        self._skip -= size
        return (None if self._skip else (OVERSIZE, b"")), at + size
