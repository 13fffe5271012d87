"""Handle one request of a connection: call its handler, send its answer, whole or as a stream."""

import asyncio
import enum
import logging
from functools import partial
from pathlib import Path
from typing import Protocol

from hanabi.contracts.body import close
from hanabi.contracts.http import NO_ANSWER, HttpRequest, HttpResponse
from hanabi.errors import BodyError
from hanabi.http.connection_slots import SlotHolder
from hanabi.http.context import ServerContext
from hanabi.http.request_reader import Received, RequestReader
from hanabi.http.response import declared_length, plain, render, render_head
from hanabi.http.response_stream import ResponseStream
from hanabi.http.spool import delete_spooled

log = logging.getLogger(__name__)


class Ending(enum.Enum):
    """How a connection ends after an answer."""

    CLOSE = enum.auto()  # when the answer is taken
    LINGER = enum.auto()  # and the rest of the client's request is discarded
    ABORT = enum.auto()
    RESET = enum.auto()  # so that the client sees that an answer without a length is incomplete


class ResponderOwner(SlotHolder, Protocol):
    """The connection."""

    transport: asyncio.Transport
    reader: RequestReader
    last: bool  # no request after this one
    lost: bool

    def advance(self) -> None:
        """Go on after an answer."""

    def watch(self) -> None:
        """Note that a streamed answer has begun."""

    def end(self, ending: Ending) -> None:
        """End the connection: take no further request."""

    def gone(self) -> None:
        """Note that the client left before the answer."""


class Responder:
    """Runs requests one at a time: `begin` one when none is `pending`. `stream` writes a streamed answer."""

    def __init__(self, context: ServerContext, owner: ResponderOwner) -> None:
        self.pending: Received | None = None
        self.stream: ResponseStream | None = None
        self._context = context
        self._owner = owner
        self._task: asyncio.Task[None] | None = None  # of the stream
        self._beginning = False  # the handler has not returned yet
        self._is_unauthenticated = True  # no signature has been verified on the connection

    @property
    def is_unread(self) -> bool:
        """Whether the client is still sending the body of the pending request."""
        return self.pending is not None and self.pending.stream is not None and self.pending.stream is self._owner.reader.stream

    def begin(self, received: Received) -> None:
        def answer(response: HttpResponse) -> None:
            if self.pending is received and self.stream is None:
                self._answer(received, response)
                if not self._beginning:
                    self._owner.advance()
            else:
                self._discard(response)

        self.pending = received
        self._beginning = True  # an answer given at once must not go deeper
        try:
            self._context.handle(received.request, answer)
        except Exception:
            log.exception("unhandled error for %s %s", received.request.method, received.request.path)
            answer(plain(500, "internal error"))
        finally:
            self._beginning = False

    def cancel(self) -> bool:
        """Cancel the handler. True if it has not ended yet."""
        if self._task is not None:
            self._task.cancel()
        elif self.pending is not None and self.pending.request.cancel is not None:
            self.pending.request.cancel()
        else:
            return False
        return self.pending is not None

    def send(self, request: HttpRequest | None, response: HttpResponse, *, keep_alive: bool, http10: bool = False) -> None:
        """Send a whole answer."""
        date, write = self._context.date.line(), self._owner.transport.write
        try:
            pieces = render(request, response, date, keep_alive=keep_alive, http10=http10)
        except ValueError as error:
            log.error("unsendable answer to %s: %s", request.path if request else "-", error)
            pieces = render(request, plain(500, "internal error"), date, keep_alive=keep_alive, http10=http10)
        for piece in pieces:
            write(piece)

    def _answer(self, received: Received, response: HttpResponse) -> None:
        owner = self._owner
        if self._is_unauthenticated and not owner.lost:
            self._mark_slot(received.request)
        if received.stream is not None and received.stream.is_broken and not owner.lost and owner.reader.refusal is not None:
            self._close(received, response)  # the client gets the refusal instead of the handler's answer
        elif owner.lost:
            self._close(received, response)
            owner.gone()
        elif response is NO_ANSWER:
            self._close(received)
            owner.end(Ending.ABORT)
        elif isinstance(response.body, bytes):
            self._reply(received, response)
        else:
            self._begin_stream(received, response)

    def _mark_slot(self, request: HttpRequest) -> None:
        slots = self._context.slots
        if request.verified:
            self._is_unauthenticated = False
            self._owner.reader.head_limit = self._context.limits.head_bytes
            self._owner.reader.authenticated = True
            slots.mark_authenticated(self._owner)
        else:
            slots.mark_used(self._owner)

    def _reply(self, received: Received, response: HttpResponse) -> None:
        unread = received.stream is not None and self.is_unread
        keep_alive = received.keep_alive and not self._owner.last and not unread
        self._close(received)
        self.send(received.request, response, keep_alive=keep_alive, http10=received.http10)
        if not keep_alive:
            self._owner.end(Ending.LINGER if unread else Ending.CLOSE)

    def _begin_stream(self, received: Received, response: HttpResponse) -> None:
        assert not isinstance(response.body, bytes)
        length = declared_length(response)
        bare = received.http10 and length is None
        keep_alive = received.keep_alive and not self._owner.last and not bare and not self.is_unread
        date, transport = self._context.date.line(), self._owner.transport
        try:
            head, has_body = render_head(received.request, response, date, keep_alive=keep_alive, http10=received.http10)
        except ValueError as error:
            log.error("unsendable answer to %s: %s", received.request.path, error)
            self._discard(response)
            self._reply(received, plain(500, "internal error"))
            return
        if not has_body:
            ending = Ending.LINGER if self.is_unread else Ending.CLOSE
            self._close(received, response)
            transport.write(head)
            if not keep_alive:
                self._owner.end(ending)
            return
        chunked = not bare and length is None
        self.stream = ResponseStream(transport, response.body, length=length, chunked=chunked, trailers=response.trailers)
        self._task = self._context.tasks.own(self.stream.run(), "streamed answer")
        transport.write(head)
        self._owner.watch()
        self._task.add_done_callback(partial(self._end_stream, received, keep_alive, bare))

    def _end_stream(self, received: Received, keep_alive: bool, bare: bool, task: asyncio.Task[None]) -> None:
        """Finish a streamed answer that has ended or failed."""
        owner, unread = self._owner, self.is_unread
        error = None if task.cancelled() else task.exception()
        self.stream = self._task = None
        self._close(received)
        if error is not None and not isinstance(error, BodyError):
            log.error("the answer to %s %s broke off", received.request.method, received.request.path, exc_info=error)
        if owner.lost:
            owner.gone()
        elif task.cancelled() or error is not None:
            owner.end(Ending.RESET if bare else Ending.CLOSE)
        elif not keep_alive:
            owner.end(Ending.LINGER if unread else Ending.CLOSE)
        else:
            owner.advance()

    def _close(self, received: Received, unsent: HttpResponse | None = None) -> None:
        """Free what a handled request took."""
        self.pending = None
        if unsent is not None:
            self._discard(unsent)
        if received.stream is not None:
            received.stream.drop()
        self._owner.reader.body.hold(0, 0)
        if isinstance(received.request.body, Path):
            delete_spooled(received.request.body)

    def _discard(self, response: HttpResponse) -> None:
        """Close an answer that nobody will take."""
        if not isinstance(response.body, bytes):
            self._context.tasks.spawn(close(response.body), "unsent answer")
