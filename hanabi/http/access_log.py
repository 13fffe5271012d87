"""The access log: one line for each request, buffered in memory and written by a thread, never on the event loop.

    <time> <peer> <method> <path> <status> <ms> <bytes of the answer> <request id> <operation> <caller>

A streamed answer is timed to its end. Unknown fields are `-`.
Query strings (they may hold signatures), headers and bodies are never logged.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Self

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.body import ByteStream
from hanabi.contracts.http import NO_ANSWER, Answer, HttpHandler, HttpRequest, HttpResponse

STDOUT = "-"
INTERVAL_S = 1.0  # age of a line at most before it is written
BUFFER_MAX_BYTES = 8 << 20  # bytes that wait; beyond that lines are lost, and counted
WORD_MAX_CHARS = 1024  # characters of a path or a name
PROBLEM = "access log"
Refuse = Callable[[HttpRequest, int | None, int], HttpResponse]


class _Counted:
    """A streamed answer. Its line is written at its end, with the bytes that the client took."""

    def __init__(self, stream: ByteStream, note: Callable[[int], None]) -> None:
        self._stream = stream
        self._note: Callable[[int], None] | None = note
        self._size = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._stream)
        self._size += len(piece)
        return piece

    async def aclose(self) -> None:
        note, self._note = self._note, None
        if note is not None:
            note(self._size)
        await self._stream.aclose()


class AccessLog:
    """The log file: `wrap` a handler, `run` writes until cancelled, `close` writes the rest. Made only when configured.

    The file is reopened for each write, so rotating it means only moving it away. Raises `OSError` when it cannot be opened.
    """

    def __init__(self, target: str, clock: Clock, health: Health | None = None) -> None:
        self._target = target
        self._clock = clock
        self._health = health or Health(clock)
        self._lost = self._health.counter("hanabi_access_log_lost_total", "Lines of the access log that could not be written.")
        self._lines: list[str] = []
        self._size = 0
        self._write(b"")

    def wrap(self, handler: HttpHandler) -> HttpHandler:
        def handle(request: HttpRequest, answer: Answer) -> None:
            began = self._clock.monotonic()

            def note(response: HttpResponse, size: int | None = None) -> None:
                self._add(request, response, size, (self._clock.monotonic() - began) * 1000)

            def answer_and_note(response: HttpResponse) -> None:
                if isinstance(response.body, bytes):
                    note(response, len(response.body))
                else:
                    response.body = _Counted(response.body, partial(note, response))
                answer(response)

            handler(request, answer_and_note)

        return handle

    def wrap_refusal(self, refuse: Refuse) -> Refuse:
        """Wrap `refuse`, which answers a request that is too large, so that it is logged too."""

        def refuse_and_tell(request: HttpRequest, size: int | None, limit: int) -> HttpResponse:
            response = refuse(request, size, limit)
            self._add(request, response, len(response.body) if isinstance(response.body, bytes) else None, 0.0)
            return response

        return refuse_and_tell

    def _add(self, request: HttpRequest, response: HttpResponse, size: int | None, took_ms: float) -> None:
        if self._size > BUFFER_MAX_BYTES:
            self._lost.add()
            return
        status, sent, request_id = "-", "-", ""
        if response is not NO_ANSWER:
            status, sent = str(response.status), "-" if size is None else str(size)
            request_id = next((value for name, value in response.headers if name == "x-amzn-requestid"), "")
        when = datetime.fromtimestamp(self._clock.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        words = (request.peer or "inside", request.method, request.path, status, f"{took_ms:.1f}", sent)
        line = " ".join([when, *map(_word, words), _word(request_id), _word(request.operation), _word(request.caller)]) + "\n"
        self._lines.append(line)
        self._size += len(line)

    async def run(self) -> None:
        while True:
            await self._clock.sleep(INTERVAL_S)
            await self._flush()

    async def close(self) -> None:
        await self._flush()

    async def _flush(self) -> None:
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        self._size = 0
        try:
            await asyncio.to_thread(self._write, "".join(lines).encode("ascii", "backslashreplace"))
        except OSError as error:
            self._lost.add(len(lines))
            self._health.report(
                PROBLEM, f"The access log cannot be written to {self._target}: {error.strerror or error}; its lines are lost"
            )
        else:
            self._health.clear(PROBLEM)

    def _write(self, data: bytes) -> None:
        if self._target == STDOUT:
            fd = os.dup(1)
        else:
            fd = os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)


def _word(text: str) -> str:
    """Escape a client's text as one word of a line: no spaces, line ends or terminal control characters."""
    text = text[:WORD_MAX_CHARS]
    if not text.isascii() or not text.isprintable() or " " in text:
        text = "".join(each if "!" <= each <= "~" else f"\\x{ord(each):02x}" for each in text)
    return text or "-"
