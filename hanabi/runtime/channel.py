"""The runtime channel's host end: a bundled bootstrap on the other side of a socket. This is the warm path."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Self, cast

from hanabi.contracts import Invocation
from hanabi.runtime.frames import (
    DORMANT,
    ERROR,
    FATAL,
    INIT_ERROR,
    OVERSIZE,
    READY,
    RESULT,
    BrokenFrame,
    FrameReader,
    awake_frame,
    init_frame,
    invoke_head,
)
from hanabi.runtime.session import TOO_LARGE, InvalidTransition, RuntimeSession, too_large

JOIN_LIMIT = 64 * 1024  # up to here one write of head and payload together is cheaper than two


class RuntimeChannel(asyncio.Protocol):
    """Frames to and from one bootstrap; each becomes a call on the session."""

    def __init__(self, session: RuntimeSession) -> None:
        self._session = session
        self._frames = FrameReader()
        self._transport: asyncio.WriteTransport | None = None
        session.deliver = self._deliver

    @classmethod
    async def open(cls, sock: socket.socket, session: RuntimeSession) -> Self:
        """Speak on the host end of a sandbox's runtime channel, which becomes the channel's.

        Nobody else may close the descriptor, and the opening is not cancelled half-way, whatever becomes of the sandbox and the
        caller meanwhile: uvloop would close a number that is another's by then.
        """
        sock.setblocking(False)
        own = socket.socket(fileno=sock.detach())
        loop = asyncio.get_running_loop()
        opening = loop.create_task(loop.create_connection(lambda: cls(session), sock=own))
        try:
            return (await asyncio.shield(opening))[1]
        except asyncio.CancelledError:
            opening.add_done_callback(_hang_up)
            raise

    def initialize(self, environment: Mapping[str, str], handler: str, task_root: str, *, generic: bool) -> None:
        """Tell the bootstrap which function it is."""
        if self._transport is not None:  # else it has gone, and its exit says why
            self._transport.write(init_frame(environment, handler, task_root, generic=generic))

    def awake(self, environment: Mapping[str, str]) -> None:
        """Tell a bootstrap that was restored what has changed in its environment."""
        if self._transport is not None:
            self._transport.write(awake_frame(environment))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The runtime is most likely dead, and its exit says more than we know. If it lives, the deadline ends it."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            frame = self._frames.feed(data)
            if frame is not None:
                self._take(*frame)
        except (BrokenFrame, InvalidTransition) as error:
            self.close()
            self._session.violate(str(error))

    def _take(self, kind: int, body: bytes) -> None:
        session = self._session
        if kind == RESULT:
            session.answer(body)
            session.next()
        elif kind == ERROR:
            session.fail(body)
            session.next()
        elif kind == FATAL:  # it exits now: never ready again
            session.fail(body)
        elif kind == OVERSIZE:
            session.fail(too_large(), TOO_LARGE)
            session.next()
        elif kind == READY:
            session.start()
        elif kind == DORMANT:
            session.restore_next()
        elif kind == INIT_ERROR:
            session.fail_init(body)
        else:
            raise BrokenFrame(f"a frame of type {kind}")

    def _deliver(self, invocation: Invocation) -> None:
        transport, head, payload = self._transport, invoke_head(invocation), invocation.payload
        if transport is None:
            self._session.violate("the runtime has closed its channel")
        elif len(payload) <= JOIN_LIMIT:
            transport.write(head + payload)
        else:
            transport.write(head)
            transport.write(payload)


def _hang_up(opening: "asyncio.Task[tuple[asyncio.WriteTransport, RuntimeChannel]]") -> None:
    """Nobody waits any more for the channel that is open now."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[1].close()
