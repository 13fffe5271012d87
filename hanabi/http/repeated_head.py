"""The head of a request that is the last one on its connection over again, read without the parser.

A client that keeps its connection sends the same head each time, but for the values that are new with each signature: a date, ids,
digests, the signature itself, and the length of the body. Where every other byte is the same at the same place, and those values are
letters, digits and hyphens, the parser would find the same head with these values in it. So that is what `read` returns; all else is
left to the parser, which alone decides what is HTTP. `tests/fuzz/test_http.py` compares the two.
"""

import struct
from typing import Self

from hanabi.contracts.http import HttpRequest
from hanabi.http.limits import ALWAYS_BYTES

HEAD_BYTES_MAX = 4096
CHANGING = frozenset({"amz-sdk-invocation-id", "content-length", "x-amz-content-sha256", "x-amz-date"})
_SIGNATURE = "Signature="  # of an `authorization` what follows may change
_UPSETTING = frozenset({"connection", "expect", "transfer-encoding", "upgrade"})  # after these headers the parser may be in another state
_END = b"\r\n\r\n"


class RepeatedHead:
    """A head, cut into the pieces that stay and, between them, the values that may change."""

    __slots__ = ("_authorization", "_cut", "_example", "_length_at", "_names", "_same", "_size")

    def __init__(self, head: bytes, example: HttpRequest, places: list[tuple[str, int, int]]) -> None:
        """`places`: header, start and end of each value that may change, in order."""
        self._size = len(head)
        self._example = HttpRequest(example.method, example.target, example.path, example.query, None, b"", example.peer, example.fields)
        self._names = tuple(name for name, _, _ in places)
        self._length_at = self._names.index("content-length") if "content-length" in self._names else None
        self._authorization = ""  # what stays of that header: all but the signature
        for name, start, end in places:
            if name == "authorization":
                self._authorization = example.fields[name][: start - end]
        cuts = [0, *(cut for _, start, end in places for cut in (start, end)), len(head)]
        self._cut = struct.Struct("".join(f"{end - start}s" for start, end in zip(cuts, cuts[1:], strict=False))).unpack_from
        self._same = self._cut(head)[::2]

    @classmethod
    def learn(cls, data: bytes, request: HttpRequest) -> Self | None:
        """Learn the head of a request that the parser has made of `data`; None if it is no plain one, or the data no whole request."""
        end = data.find(_END, 0, HEAD_BYTES_MAX)
        if end < 0 or request.repeated or not _UPSETTING.isdisjoint(request.fields):
            return None
        if len(data) != end + len(_END) + int(request.header("content-length") or 0):
            return None
        places: list[tuple[str, int, int]] = []
        start = data.find(b"\r\n") + 2
        for name, value in request.headers:
            line_end = data.find(b"\r\n", start)
            value_at = line_end - len(value)
            if data[start:line_end].decode("latin-1").partition(": ")[2] != value:
                return None  # with other blanks than usual
            if name == "authorization" and _SIGNATURE in value:
                value_at = start + data[start:line_end].rindex(_SIGNATURE.encode()) + len(_SIGNATURE)
            elif name not in CHANGING:
                value_at = line_end
            if value_at < line_end:
                places.append((name, value_at, line_end))
            start = line_end + 2
        return cls(data[: end + len(_END)], request, places) if places else None

    def read(self, data: bytes) -> HttpRequest | None:
        """The request in `data`, if that is this head with a whole body, and nothing else."""
        size = self._size
        if len(data) < size:
            return None
        pieces = self._cut(data)
        values = pieces[1::2]
        if pieces[::2] != self._same or not b"".join(values).replace(b"-", b"").isalnum():
            return None
        if self._length_at is not None:
            digits = values[self._length_at]
            if not digits.isdigit() or int(digits) > ALWAYS_BYTES:
                return None
            size += int(digits)
        if len(data) != size:
            return None
        example = self._example
        fields = example.fields.copy()
        fields.update(zip(self._names, map(bytes.decode, values), strict=True))
        if self._authorization:
            fields["authorization"] = self._authorization + fields["authorization"]
        return HttpRequest(example.method, example.target, example.path, example.query, None, data[self._size :], example.peer, fields)
