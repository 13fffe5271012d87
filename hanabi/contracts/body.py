"""The bytes of a message: there already, or coming as they are asked for."""

from collections.abc import Awaitable
from typing import Protocol, Self

from hanabi.errors import BodyTooLarge


class ByteStream(Protocol):
    """Bytes in pieces, such as an async generator gives. No piece is made before it is asked for: that is the back-pressure.

    Who takes them calls `aclose` when it wants no more, also after the end or an error; nobody may be waiting for a piece then.
    `__anext__` raises `BodyIncomplete` when the sender broke off.
    """

    def __aiter__(self) -> Self: ...

    def __anext__(self) -> Awaitable[bytes]: ...

    def aclose(self) -> Awaitable[None]: ...


Body = bytes | ByteStream


async def read_whole(body: Body, limit_bytes: int) -> bytes:
    """All of it, and the end of a stream. Raises `BodyTooLarge` beyond the limit."""
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
    """Say that nobody wants any more of it."""
    await body.aclose()
