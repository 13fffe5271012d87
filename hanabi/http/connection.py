"""One client connection: bytes in, requests to the handler one at a time, answers out in order.

A connection waits for one thing at a time, and never for ever:

    IDLE      a next request                               idle_s, then close
    HEAD      the rest of the request line and headers     head_s, then 408
    BODY      the rest of the body                         body_s for each `progress` bytes, then 408
    HANDLER   the handler                                  the handler's own limits
    WRITE     a client slow to take its answer             body_s for each `progress` bytes, then drop
    LINGER    refused: the rest of what it still sends     linger_s, then drop

While a handler reads its request's body as it arrives, the connection waits for that (BODY); while it answers with a stream, for the
client to take it (WRITE). Only when neither is the client's turn does it wait for the handler.
"""

import asyncio
import logging
import socket
import struct
from functools import partial
from pathlib import Path
from typing import cast

from hanabi.contracts.body import close
from hanabi.contracts.http import NO_ANSWER, HttpRequest, HttpResponse
from hanabi.errors import BodyError
from hanabi.http.connection_slots import group_peers
from hanabi.http.context import ServerContext
from hanabi.http.request_reader import Received, RequestReader
from hanabi.http.response import CONTINUE, declared_length, plain, render, render_head
from hanabi.http.response_stream import ResponseStream
from hanabi.http.waiting import Deadline, WaitingFor

log = logging.getLogger(__name__)

_RESET = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._peer = ""
        self.peer = ""  # the same, grouped: whose share of the places this one counts to
        self._is_unauthenticated = True  # no signature has been verified on it
        self._wait = WaitingFor.IDLE
        self._deadline = Deadline(context.clock, self._expire)
        self._mark = 0  # bytes moved when the deadline was last set
        self._backlog = b""  # came while a request was being handled; not parsed yet
        self._pending: Received | None = None  # is being handled, or answered by a stream
        self._beginning = False  # its handler has not returned yet
        self._answering: tuple[ResponseStream, asyncio.Task[None]] | None = None
        self._writable = True
        self._last = False  # answer what is there, then close
        self._ended = False  # the last answer was given: nothing more is handled
        self._lost = False
        self._late = False  # it came when the server was draining

    # --- the transport ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        context = self._context
        if context.name_peers:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else ""
            self.peer = group_peers(self._peer)
        self._reader = RequestReader(context, self, self._peer)
        if context.closing or not context.slots.add(self):
            self._lost = True
            self._transport.abort()
            return
        self._last = self._late = context.draining
        self._await(WaitingFor.IDLE, context.timeouts.idle_s)

    def data_received(self, data: bytes) -> None:
        if self._wait is WaitingFor.LINGER or self._lost:
            return
        reader = self._reader
        if (self._pending is None and self._writable) or reader.stream is not None:
            reader.feed(data)
            if reader.stream is not None and reader.stream.is_full:
                self._transport.pause_reading()
            self._advance()
        else:
            self._backlog += data
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._last = True
        if self._pending is None:
            return not self._writable
        if self._context.cancel_abandoned:
            self._cancel()
            return False
        return not self._is_unread(self._pending)  # half-closed: the answer can still be sent

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = self._last = True
        self._deadline.close()
        self._reader.close()
        for received in self._reader.ready:
            self._delete_spooled(received.request)
        self._reader.ready.clear()
        self._backlog = b""
        if self._pending is None:
            self._gone()
        elif self._answering is not None or self._context.cancel_abandoned:
            self._cancel()

    def pause_writing(self) -> None:
        self._writable = False
        if self._answering is not None:
            self._answering[0].pause()
            self._watch()

    def resume_writing(self) -> None:
        self._writable = True
        if self._answering is not None:
            self._answering[0].resume()
            self._watch()
        else:
            self._advance()

    def send_continue(self) -> None:
        self._transport.write(CONTINUE)

    def on_taken(self) -> None:
        if not self._lost and not self._backlog:
            self._transport.resume_reading()
            self._watch()

    @property
    def busy(self) -> bool:
        """Whether a request is being handled, or its answer is on its way; one that came after the end had begun does not count."""
        return not self._late and (self._pending is not None or self._wait is WaitingFor.WRITE)

    def wind_down(self) -> None:
        """The server is going: finish what has begun, then close."""
        self._last = True
        if self._wait is WaitingFor.IDLE:
            self._transport.close()

    def abort(self) -> bool:
        """Drop the connection. True if something was told to stop, and has not stopped yet."""
        stopping = self._cancel()
        if not self._lost:
            self._transport.abort()
        return stopping

    def _cancel(self) -> bool:
        if self._answering is not None:
            self._answering[1].cancel()
        elif self._pending is not None and self._pending.request.cancel is not None:
            self._pending.request.cancel()
        return self._pending is not None

    def _gone(self) -> None:
        self._reader.hold(0, 0)
        self._context.slots.remove(self)
        self._context.on_gone()

    # --- giving way to others: see `slots` ---------------------------------------------------------------------------

    @property
    def handling(self) -> bool:
        """Whether a request is being handled."""
        return self._pending is not None

    @property
    def idle_since(self) -> float:
        """Grows with the time of what was last heard or said."""
        return self._deadline.at

    @property
    def holds_body(self) -> bool:
        """Whether a large body is on its way, from somebody who does not name a key."""
        return self._pending is None and self._reader.held[0] > 0 and not self._reader.known

    def evict(self) -> None:
        self._reader.hold(0, 0)
        self._lost = self._last = True
        self._transport.abort()

    # --- handling -----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Do what comes next: the oldest request, the refusal, the backlog; or wait for more."""
        reader, ready = self._reader, self._reader.ready
        while ready and self._writable and not self._stuck():
            self._wait = WaitingFor.HANDLER
            self._deadline.clear()
            self._begin(ready.popleft())
        if self._stuck():
            if self._pending is not None and self._pending.stream is not None:
                self._watch()
            return
        timeouts = self._context.timeouts
        if not self._writable:
            self._mark = self._transport.get_write_buffer_size()
            self._await(WaitingFor.WRITE, timeouts.body_s)
        elif reader.refusal is not None:
            self._send(None, reader.refusal, keep_alive=False)
            self._linger()
        elif self._last and reader.reading is WaitingFor.IDLE and not self._backlog:
            self._transport.close()
        elif self._backlog:
            data, self._backlog = self._backlog, b""
            self._transport.resume_reading()
            self.data_received(data)
        elif reader.reading is WaitingFor.IDLE:
            self._await(WaitingFor.IDLE, timeouts.idle_s)
        elif reader.reading is not self._wait:
            self._mark = 0
            self._await(reader.reading, timeouts.head_s if reader.reading is WaitingFor.HEAD else timeouts.body_s)

    def _stuck(self) -> bool:
        """Whether nothing can be begun: a request is being handled, or it is over."""
        return self._pending is not None or self._ended or self._lost or self._wait is WaitingFor.LINGER

    def _begin(self, received: Received) -> None:
        def answer(response: HttpResponse) -> None:
            if self._pending is received and self._answering is None:
                self._answer(received, response)
                if not self._beginning:
                    self._advance()
            else:
                self._discard(response)

        self._pending = received
        self._beginning = True  # an answer given at once must not go deeper
        try:
            self._context.handle(received.request, answer)
        except Exception:
            log.exception("unhandled error for %s %s", received.request.method, received.request.path)
            answer(plain(500, "internal error"))
        finally:
            self._beginning = False

    def _answer(self, received: Received, response: HttpResponse) -> None:
        if self._is_unauthenticated and not self._lost:
            self._mark_slot(received.request)
        is_refused = received.stream is not None and received.stream.is_broken and self._reader.refusal is not None
        if self._lost or is_refused or response is NO_ANSWER:
            self._end(received, response)
            if self._lost:
                self._gone()
            elif not is_refused:
                self._ended = self._last = True
                self._transport.abort()
        elif isinstance(response.body, bytes):
            self._reply(received, response)
        else:
            self._stream(received, response)

    def _reply(self, received: Received, response: HttpResponse) -> None:
        keep_alive = received.keep_alive and not self._last and not self._is_unread(received)
        self._end(received)
        self._send(received.request, response, keep_alive=keep_alive, http10=received.http10)
        if not keep_alive:
            self._finish(received)

    def _stream(self, received: Received, response: HttpResponse) -> None:
        """Answer with a body that is made meanwhile."""
        length = declared_length(response)
        bare = received.http10 and length is None
        keep_alive = received.keep_alive and not self._last and not bare and not self._is_unread(received)
        date = self._context.date.line()
        try:
            head, has_body = render_head(received.request, response, date, keep_alive=keep_alive, http10=received.http10)
        except ValueError as error:
            log.error("unsendable answer to %s: %s", received.request.path, error)
            self._discard(response)
            self._reply(received, plain(500, "internal error"))
            return
        if has_body:
            assert not isinstance(response.body, bytes)
            stream = ResponseStream(
                self._transport, response.body, length=length, chunked=not bare and length is None, trailers=response.trailers
            )
            task = self._context.tasks.own(stream.run(), "streamed answer")
            self._answering = stream, task
            self._transport.write(head)
            self._watch()
            task.add_done_callback(partial(self._streamed, received, keep_alive, bare))
            return
        self._end(received, response)
        self._transport.write(head)
        if not keep_alive:
            self._finish(received)

    def _streamed(self, received: Received, keep_alive: bool, bare: bool, task: asyncio.Task[None]) -> None:
        """The streamed body has ended, or broken off."""
        self._answering = None
        error = None if task.cancelled() else task.exception()
        self._end(received)
        if error is not None and not isinstance(error, BodyError):
            log.error("the answer to %s %s broke off", received.request.method, received.request.path, exc_info=error)
        if self._lost:
            self._gone()
        elif task.cancelled() or error is not None:
            self._cut(bare)
        elif not keep_alive:
            self._finish(received)
        else:
            self._advance()

    def _is_unread(self, received: Received) -> bool:
        """Whether the client still sends the body of what is answered already."""
        return received.stream is not None and received.stream is self._reader.stream

    def _discard(self, response: HttpResponse) -> None:
        """Nobody will have it."""
        if not isinstance(response.body, bytes):
            self._context.tasks.spawn(close(response.body), "unsent answer")

    def _mark_slot(self, request: HttpRequest) -> None:
        if request.verified:
            self._is_unauthenticated = False
            self._reader.head_limit = self._context.limits.head_bytes
            self._context.slots.mark_authenticated(self)
        else:
            self._context.slots.mark_used(self)

    def _end(self, received: Received, unsent: HttpResponse | None = None) -> None:
        """A request has been handled, and what it took is given back."""
        self._pending = None
        if unsent is not None:
            self._discard(unsent)
        if received.stream is not None:
            received.stream.drop()
        self._reader.hold(0, 0)
        if isinstance(received.request.body, Path):
            self._delete_spooled(received.request)

    def _finish(self, received: Received) -> None:
        """The last answer was given: close once it is taken, and swallow what the client still sends of its request."""
        if self._is_unread(received):
            self._linger()
            return
        self._ended = True
        self._mark = self._transport.get_write_buffer_size()
        self._await(WaitingFor.WRITE, self._context.timeouts.body_s)
        self._transport.close()

    def _cut(self, bare: bool) -> None:
        """Break off an answer so that the client sees it: where only the end of the connection is the end of the body, by a reset."""
        self._ended = self._last = True
        if bare:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._mark = self._transport.get_write_buffer_size()
            self._await(WaitingFor.WRITE, self._context.timeouts.body_s)
            self._transport.close()

    def _linger(self) -> None:
        self._reader.drop()
        self._backlog = b""
        self._transport.resume_reading()
        self._mark = self._transport.get_write_buffer_size()
        self._await(WaitingFor.LINGER, self._context.timeouts.linger_s)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _send(self, request: HttpRequest | None, response: HttpResponse, *, keep_alive: bool, http10: bool = False) -> None:
        date = self._context.date.line()
        try:
            pieces = render(request, response, date, keep_alive=keep_alive, http10=http10)
        except ValueError as error:
            log.error("unsendable answer to %s: %s", request.path if request else "-", error)
            pieces = render(request, plain(500, "internal error"), date, keep_alive=keep_alive, http10=http10)
        for piece in pieces:
            self._transport.write(piece)

    def _delete_spooled(self, request: HttpRequest) -> None:
        if isinstance(request.body, Path):  # off the loop: freeing tens of megabytes takes the kernel milliseconds
            asyncio.get_running_loop().run_in_executor(None, request.body.unlink, True)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _await(self, wait: WaitingFor, seconds: float) -> None:
        self._wait = wait
        self._deadline.set(seconds)

    def _watch(self) -> None:
        """While a request is handled: wait for what is the client's turn, if anything is."""
        if self._pending is None or self._lost:
            return
        wait, mark, stream = WaitingFor.HANDLER, 0, self._reader.stream
        if self._answering is not None and not self._writable:
            wait, mark = WaitingFor.WRITE, self._transport.get_write_buffer_size()
        elif stream is not None and stream is self._pending.stream and not stream.is_full:
            wait, mark = WaitingFor.BODY, stream.size
        if wait is self._wait:
            return
        self._wait, self._mark = wait, mark
        if wait is WaitingFor.HANDLER:
            self._deadline.clear()
        else:
            self._deadline.set(self._context.timeouts.body_s)

    def _expire(self) -> None:
        """The deadline has passed: that ends the wait, unless enough has moved to go on."""
        timeouts = self._context.timeouts
        if self._wait is WaitingFor.IDLE:
            self._transport.close()
        elif self._wait is WaitingFor.BODY and self._reader.body_bytes - self._mark >= timeouts.progress_bytes:
            self._mark = self._reader.body_bytes
            self._deadline.extend(timeouts.body_s)
        elif self._wait in (WaitingFor.HEAD, WaitingFor.BODY):
            self._reader.refuse(plain(408, "the request took too long to arrive"))
            self._advance()
        elif self._mark - self._transport.get_write_buffer_size() >= timeouts.progress_bytes:
            self._mark = self._transport.get_write_buffer_size()
            self._deadline.extend(timeouts.body_s)
        else:
            self._transport.abort()
