"""Handlers that are generators: each value they yield is sent at once. AWS's runtime has none in Python.

A first value that is a dictionary with a `statusCode` is the head of an HTTP response: status, headers and cookies.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from hanabi_runtime.channel import BundledChannel, make_frame
from hanabi_runtime.standard import fetch

GENERATORS = (GeneratorType, AsyncGeneratorType)
PLAIN = b"application/octet-stream"
HTTP = b"application/vnd.awslambda.http-integration-response"
HEAD_END = bytes(8)
PIECE_BYTES = 64 * 1024  # in one frame

Encode = Callable[[Any], bytes]


class Answer:
    """The frames of one streamed answer, value by value. `encode` makes JSON of those that are neither text nor bytes."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._has_begun = False

    def frames(self, value: Any) -> bytes:
        begin = b""
        is_head = not self._has_begun and isinstance(value, dict) and "statusCode" in value
        if not self._has_begun:
            begin = self._begin(HTTP if is_head else PLAIN)
        body = self._to_bytes(value) + (HEAD_END if is_head else b"")
        return begin + b"".join([make_frame(b"c", body[at : at + PIECE_BYTES]) for at in range(0, len(body), PIECE_BYTES)])

    def end(self) -> bytes:
        """What is left to send before its end: the beginning of an answer without a value."""
        return b"" if self._has_begun else self._begin(PLAIN)

    def _begin(self, content_type: bytes) -> bytes:
        self._has_begun = True
        return make_frame(b"s", content_type)

    def _to_bytes(self, value: Any) -> bytes:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        return self._encode(value)


def send_all(channel: BundledChannel, values: Generator[Any, None, None], encode: Encode) -> None:
    """Send all that a generator yields."""
    answer = Answer(encode)
    try:
        for value in values:
            channel.write(answer.frames(value))
    finally:
        values.close()
    channel.write(answer.end())


async def send_all_async(channel: BundledChannel, values: AsyncGenerator[Any, None], encode: Encode) -> None:
    """As `send_all`; the function's other tasks run on while the host takes no more."""
    loop = fetch("asyncio").get_running_loop()
    answer = Answer(encode)
    try:
        async for value in values:
            if rest := channel.write_some(answer.frames(value)):
                await loop.run_in_executor(None, channel.write, rest)
    finally:
        await values.aclose()
    channel.write(answer.end())
