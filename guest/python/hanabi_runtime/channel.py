"""The guest end of the runtime channel: blocking reads, and one write for each answer. docs/architecture.md, "Runtime channel"."""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import json
import socket
import sys
from typing import Any, NamedTuple

BUFFER_BYTES = 64 * 1024
ANSWER_LIMIT_BYTES = 6 * 1024 * 1024 + 100  # one byte over it is all the host needs to see to refuse an answer
COPY_LIMIT_BYTES = 64 * 1024  # up to here one write of head and body together is cheaper than two
READY = b"\1\0\0\0r"


class Invocation(NamedTuple):
    request_id: str
    deadline_ms: int
    arn: str
    trace: str
    client_context: str
    tenant_id: str | None
    payload: memoryview  # valid until the next one is received


def make_frame(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 1).to_bytes(4, "little") + kind + body


class BundledChannel:
    """The host sends one frame and waits for our answer, so what a read brings is the beginning of one frame, or all of it."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)  # not for the function's child processes
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_init(self) -> dict[str, Any]:
        return self._receive_object(b"i")

    def receive_restored(self) -> dict[str, Any]:
        """What a clone is told: its environment is another one than its snapshot's."""
        return self._receive_object(b"a")

    def _receive_object(self, kind: bytes) -> dict[str, Any]:
        frame = self._receive(kind)
        values: dict[str, Any] = json.loads(str(frame[5:], "utf-8"))
        return values

    def receive_invocation(self) -> Invocation:
        frame = self._receive(b"n")
        end = 7 + int.from_bytes(frame[5:7], "little")
        request_id, deadline_ms, arn, trace, tenant_id, client_context = str(frame[7:end], "utf-8").split("\n", 5)
        return Invocation(request_id, int(deadline_ms), arn, trace, client_context, tenant_id or None, frame[end:])

    def send(self, kind: bytes, body: bytes = b"") -> None:
        self._send(kind, body, b"")

    def answer(self, kind: bytes, body: bytes) -> None:
        """Send the answer and ask for the next invocation, in one write."""
        self._send(kind, body, READY)

    def write(self, frames: bytes | memoryview) -> None:
        """Send frames of a streamed answer; returns when the host has taken them, or the socket."""
        self._socket.sendall(frames)

    def write_some(self, frames: bytes) -> memoryview:
        """As `write`, without waiting; returns what is left."""
        try:
            sent = self._socket.send(frames, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        return memoryview(frames)[sent:]

    def _send(self, kind: bytes, body: bytes, more: bytes) -> None:
        body = body[: ANSWER_LIMIT_BYTES + 1]
        head = (len(body) + 1).to_bytes(4, "little") + kind
        if len(body) <= COPY_LIMIT_BYTES:
            self._socket.sendall(head + body + more)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)
            if more:
                self._socket.sendall(more)

    def _receive(self, kind: bytes) -> memoryview:
        frame, have, end = self._buffer, 0, 5
        while have < end:
            got = self._socket.recv_into(frame[have:])
            if not got:
                sys.exit(0)  # the host has gone
            have += got
            if end == 5 <= have:
                end = 4 + int.from_bytes(frame[:4], "little")
                if end > len(frame):
                    frame = memoryview(bytearray(end))
                    frame[:have] = self._buffer[:have]
        if frame[4:5] != kind:
            raise RuntimeError(f"a frame of type {bytes(frame[4:5])!r} where {kind!r} was due")
        return frame[:end]
