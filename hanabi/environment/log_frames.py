"""Log records in frames, as runtime clients write them to `_LAMBDA_TELEMETRY_LOG_FD`: a record of several lines is one event.

A frame is, big-endian, u32 type, u32 length, u64 Unix microseconds, and the text. The type is 0xA55A0002 for JSON, 0xA55A0003 for text,
plus a level from 1 to 6 in bits 2 to 4 (aws-lambda-python-runtime-interface-client, "FramedTelemetryLogSink"). Frames and lines come
through one pipe. Both are of the function's making: a wrong frame spoils no more than its own log.
"""

import struct

from hanabi.quotas import FUNCTION_LOG_LINE_BYTES

FRAME_MARK = b"\xa5\x5a\x00"  # no UTF-8 has it
_HEAD = struct.Struct(">IIQ")
_FIRST_TYPE, _LAST_TYPE = 0xA55A0002, 0xA55A001B


class LogFrameReader:
    """Takes frames, and the lines between them, out of a stream of bytes."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the frame under way that have not come
        self._held = b""  # of its text, what has come

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._left > 0

    def read(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """Return (the unfinished line at the end, whole texts: of frames and of lines)."""
        texts: list[bytes] = []
        at = 0
        while True:
            if self._left:
                at = self._take(data, at, texts)
                if self._left:
                    return b"", texts
            mark = data.find(FRAME_MARK, at)
            while mark >= 0 and len(data) - mark >= _HEAD.size and not _is_head(data, mark):
                mark = data.find(FRAME_MARK, mark + 1)
            if mark < 0 or len(data) - mark < _HEAD.size:
                break
            texts += filter(None, data[at:mark].split(b"\n"))  # a frame ends an unfinished line
            self._left = _HEAD.unpack_from(data, mark)[1]
            at = mark + _HEAD.size
        *lines, rest = data[at:].split(b"\n")
        while len(rest) > FUNCTION_LOG_LINE_BYTES:
            lines.append(rest[:FUNCTION_LOG_LINE_BYTES])
            rest = rest[FUNCTION_LOG_LINE_BYTES:]
        return rest, texts + lines

    def end(self) -> list[bytes]:
        """End a frame that is cut off: its writer has died, or was none."""
        held, self._held, self._left = self._held, b"", 0
        return [held]

    def _take(self, data: bytes, at: int, texts: list[bytes]) -> int:
        """Take the text of the frame under way; returns where it ends. A long one becomes several."""
        text = self._held + data[at : at + self._left]
        taken = len(text) - len(self._held)
        self._left -= taken
        while len(text) > FUNCTION_LOG_LINE_BYTES:
            texts.append(text[:FUNCTION_LOG_LINE_BYTES])
            text = text[FUNCTION_LOG_LINE_BYTES:]
        if self._left:
            self._held = text
        else:
            texts.append(text.removesuffix(b"\n"))
            self._held = b""
        return at + taken


def _is_head(data: bytes, at: int) -> bool:
    kind: int = _HEAD.unpack_from(data, at)[0]
    return _FIRST_TYPE <= kind <= _LAST_TYPE and kind & 2 != 0
