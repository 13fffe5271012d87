"""Bodies for tests: a fake byte stream, and the bytes of a body that is not a stream."""

from typing import Self

from hanabi.contracts.body import Body


def whole(body: Body) -> bytes:
    assert isinstance(body, bytes)
    return body


class Pieces:
    """A `ByteStream` of given bytes, in pieces of 64 KiB; it records whether it was closed."""

    def __init__(self, content: bytes, piece_bytes: int = 65536) -> None:
        self.is_closed = False
        self._left = content
        self._piece_bytes = piece_bytes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._left or self.is_closed:
            raise StopAsyncIteration
        piece, self._left = self._left[: self._piece_bytes], self._left[self._piece_bytes :]
        return piece

    async def aclose(self) -> None:
        self.is_closed = True
