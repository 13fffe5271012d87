"""Message bodies: bytes, or a stream of bytes that is read on demand."""

from collections.abc import Awaitable
from typing import Protocol, Self

from hanabi.errors import BodyTooLarge


class ByteStream(Protocol):
    """Bytes in pieces, as from an async generator. A piece is made only on demand: that is the back-pressure.

    The reader calls `aclose` when it stops, also after the end or an error, and never while a piece is awaited.
    `__anext__` raises `BodyIncomplete` when the sender broke off.
    """

    def __aiter__(self) -> Self: ...

    def __anext__(self) -> Awaitable[bytes]: ...

    def aclose(self) -> Awaitable[None]: ...


Body = bytes | ByteStream


async def read_whole(body: Body, limit_bytes: int) -> bytes:
    """Read a body to its end. Raises `BodyTooLarge` beyond the limit."""
    if isinstance(body, bytes):
        if len(body) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in body:
            size += len(piece)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            pieces.append(piece)
    finally:
        await body.aclose()
    return b"".join(pieces)


async def close(body: ByteStream) -> None:
    """Stop reading a body."""
    await body.aclose()
