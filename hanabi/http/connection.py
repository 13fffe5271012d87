"""One client connection: bytes in, requests to the handler one at a time, answers out in order.

A connection waits for one thing at a time, and never for ever:

    IDLE      a next request                               idle_s, then close
    HEAD      the rest of the request line and headers     head_s, then 408
    BODY      the rest of the body                         body_s for each `progress` bytes, then 408
    HANDLER   the handler                                  the handler's own limits
    WRITE     a client slow to take its answer             body_s for each `progress` bytes, then drop
    LINGER    refused: the rest of what it still sends     linger_s, then drop
"""

import asyncio
import enum
import logging
import math
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools

from hanabi.base.clock import Timer
from hanabi.contracts.http import NO_ANSWER, HttpRequest, HttpResponse
from hanabi.http.connection_slots import group_peers
from hanabi.http.limits import SPOOL_BYTES
from hanabi.http.response import CONTINUE, plain, render
from hanabi.http.spool import BodyBuffer

if TYPE_CHECKING:
    from hanabi.http.server import HttpServer

log = logging.getLogger(__name__)

COUNTED_BYTES = 64 * 1024  # smaller bodies are not worth counting
READS = 4096  # that a head may come in
HEADER_BYTES = 160  # what a header takes in memory beyond its own bytes
_HEAD_TOO_LARGE = plain(431, "the request line and headers are too large")


class WaitingFor(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    HANDLER = enum.auto()
    WRITE = enum.auto()
    LINGER = enum.auto()


class Received(NamedTuple):
    """A complete request, and how its answer must leave the connection."""

    request: HttpRequest
    keep_alive: bool
    http10: bool


class Connection(asyncio.Protocol):
    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self.peer = ""  # the same, grouped: whose share of the places this one counts to
        self._is_unauthenticated = True  # no signature has been verified on it
        self._head_limit = server.limits.unauthenticated_head_bytes or server.limits.head_bytes
        # waiting
        self._wait = WaitingFor.IDLE
        self._deadline = math.inf
        self._timer: Timer | None = None
        self._timer_at = math.inf
        self._mark = 0  # bytes moved when the deadline was last set
        # reading
        self._reading = WaitingFor.IDLE  # IDLE, HEAD or BODY: where the parser is
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._header_count = 0
        self._unseen = 0  # bytes given to the parser since it last got anywhere
        self._bulk = False  # more was given than a head may have: its size is to be counted
        self._reads = 0  # that have not completed the head
        self._head_held = False  # `slots` knows of an incomplete head
        self._request: HttpRequest | None = None  # its headers are complete, its body is not
        self._body: BodyBuffer | None = None
        self._limit = 0
        self._known = False  # the request names a key that exists
        self._held = (0, 0)  # this connection's parts of server.buffered and server.spooled
        self._ready: deque[Received] = deque()
        self._backlog = b""  # came while a request was being handled; not parsed yet
        # answering
        self._pending: Received | None = None  # is being handled
        self._beginning = False  # its handler has not returned yet
        self._ended = False  # the last answer was given: nothing more is handled
        self._verdict: HttpResponse | None = None  # refuses what is being received; said after the answers to `_ready`
        self._writable = True
        self._last = False  # answer what is there, then close
        self._lost = False
        self._late = False  # it came when the server was draining

    # --- the transport ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        server = self._server
        if server.name_peers:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else ""
            self.peer = group_peers(self._peer)
        if server.closing or not server.slots.add(self):
            self._lost = True
            self._transport.abort()
            return
        self._last = self._late = server.draining
        self._await(WaitingFor.IDLE, server.timeouts.idle_s)

    def data_received(self, data: bytes) -> None:
        if self._wait is WaitingFor.LINGER or self._lost:
            return
        if self._pending is None and self._writable:
            self._feed(data)
        else:
            self._backlog += data
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._last = True
        if self._pending is None:
            return not self._writable
        if self._server.cancel_abandoned:
            self._cancel()
            return False
        return True  # half-closed: the answer can still be sent

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = self._last = True
        if self._timer is not None:
            self._timer.cancel()
        self._deadline = math.inf
        if self._body is not None:
            self._body.discard()
        for received in self._ready:
            self._delete_spooled(received.request)
        self._ready.clear()
        self._backlog = b""
        del self._parser  # it refers back to this connection
        if self._pending is None:
            self._gone()
        elif self._server.cancel_abandoned:
            self._cancel()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._advance()

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
        """Drop the connection. True if a handler was told to stop, and has not stopped yet."""
        stopping = self._cancel()
        if not self._lost:
            self._transport.abort()
        return stopping

    def _cancel(self) -> bool:
        if self._pending is None or self._pending.request.cancel is None:
            return False
        self._pending.request.cancel()
        return True

    def _gone(self) -> None:
        self._hold(0, 0)
        self._server.slots.remove(self)
        self._server.settled()

    # --- giving way to others: see `slots` ---------------------------------------------------------------------------

    @property
    def handling(self) -> bool:
        """Whether a request is being handled."""
        return self._pending is not None

    @property
    def idle_since(self) -> float:
        """Grows with the time of what was last heard or said."""
        return self._deadline

    @property
    def holds_body(self) -> bool:
        """Whether a large body is on its way, from somebody who does not name a key."""
        return self._pending is None and self._held[0] > 0 and not self._known

    def evict(self) -> None:
        self._hold(0, 0)
        self._lost = self._last = True
        self._transport.abort()

    # --- parsing ------------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        while data and self._verdict is None:
            self._unseen += len(data)
            self._bulk = self._unseen > self._head_limit
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:  # offered (h2c, websocket) and not taken: go on in HTTP/1.1
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self._refuse(plain(400, "malformed request"))
        if self._reading is WaitingFor.IDLE:
            self._unseen = 0
        elif self._unseen > self._head_limit:  # headers, trailers or chunk extensions without end
            self._refuse(_HEAD_TOO_LARGE)
        if self._reading is WaitingFor.HEAD or self._head_held:
            self._hold_head()
        self._advance()

    def _hold_head(self) -> None:
        size = 0
        self._reads += 1
        if self._reads > READS:  # each copies what is there of a header
            self._refuse(_HEAD_TOO_LARGE)
        if self._reading is WaitingFor.HEAD and self._verdict is None:
            size = self._unseen + HEADER_BYTES * len(self._headers) + 1
        self._head_held = size > 0
        self._server.slots.hold_head(self, size)

    def _refuse(self, verdict: HttpResponse) -> None:
        if self._verdict is None:
            self._verdict = verdict

    def on_message_begin(self) -> None:
        self._reading = WaitingFor.HEAD
        self._reads = 0
        self._known = False
        self._url = b""
        self._headers = []
        self._header_count = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._header_count > self._server.limits.headers:
            self._refuse(plain(431, "too many headers"))
        elif self._reading is WaitingFor.HEAD:
            self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))
        elif self._request is not None:
            self._request.trailers = (*self._request.trailers, (name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self._verdict is not None:
            return
        self._reading = WaitingFor.BODY
        if self._bulk and sum(len(name) + len(value) + 4 for name, value in self._headers) + len(self._url) > self._head_limit:
            self._refuse(_HEAD_TOO_LARGE)
            return
        self._unseen = 0
        target = self._url.decode("latin-1")
        path, _, query = target.partition("?")
        request = HttpRequest(self._parser.get_method().decode(), target, path, query, self._headers, b"", self._peer)
        self._request = request
        if (target[:1] != "/" and target != "*") or "#" in target:
            self._refuse(plain(400, "malformed request target"))
            return
        if (
            len(dict(self._headers)) < len(self._headers) and sum(name == "host" for name, _ in self._headers) > 1
        ):  # one for whoever routes, another for whoever signs
            self._refuse(plain(400, "more than one host"))
            return
        declared = request.header("content-length")
        if declared not in ("", "0") or request.header("transfer-encoding"):
            self._expect_body(request, int(declared) if declared else None)  # the parser vouches for the number

    def _expect_body(self, request: HttpRequest, size: int | None) -> None:
        server = self._server
        self._limit, spool, self._known = server.limits.body(request)
        if size is not None and size > self._limit:
            self._refuse(server.refuse(request, size, self._limit))
            return
        self._body = BodyBuffer(server.spool if spool else None, SPOOL_BYTES)
        if not self._ready and request.header("expect").lower() == "100-continue":
            self._transport.write(CONTINUE)

    def on_body(self, chunk: bytes) -> None:
        self._unseen = 0
        body, server = self._body, self._server
        if self._verdict is not None or body is None or self._request is None:
            return
        if body.size + len(chunk) > self._limit:
            self._refuse(server.refuse(self._request, None, self._limit))
            return
        try:
            body.add(chunk)
        except OSError as error:
            log.error("cannot spool a request body: %s", error)
            self._refuse(plain(507, "no room for the request body"))
        if body.size > COUNTED_BYTES:
            self._hold(*((body.size, 0) if body.in_memory else (0, body.size)))
            while server.buffered > server.limits.buffered_bytes and self._known and server.slots.drop_unauthenticated_body():
                pass
            if server.buffered > server.limits.buffered_bytes or server.spooled > server.limits.spooled_bytes:
                self._refuse(plain(503, "too many large requests at once"))

    def _hold(self, buffered: int, spooled: int) -> None:
        self._server.buffered += buffered - self._held[0]
        self._server.spooled += spooled - self._held[1]
        self._held = buffered, spooled

    def on_message_complete(self) -> None:
        self._reading = WaitingFor.IDLE
        request, self._request = self._request, None
        if self._verdict is not None or request is None:
            return
        if self._body is not None:
            request.body = self._body.finish()
            self._body = None
        self._ready.append(Received(request, self._parser.should_keep_alive(), self._parser.get_http_version() == "1.0"))
        if len(self._ready) > self._server.limits.pipelined:
            self._refuse(plain(400, "too many pipelined requests"))

    # --- answering ----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Do what comes next: the oldest complete request, the verdict, the backlog; or wait for more."""
        while not self._stuck() and self._writable and self._ready:
            self._wait = WaitingFor.HANDLER
            self._deadline = math.inf
            self._begin(self._ready.popleft())
        if self._stuck():
            return
        timeouts = self._server.timeouts
        if not self._writable:
            self._mark = self._transport.get_write_buffer_size()
            self._await(WaitingFor.WRITE, timeouts.body_s)
        elif self._verdict is not None:
            self._send(None, self._verdict, keep_alive=False)
            self._drop_received()
            self._transport.resume_reading()
            self._await(WaitingFor.LINGER, timeouts.linger_s)
            if self._transport.can_write_eof():
                self._transport.write_eof()
        elif self._last and self._reading is WaitingFor.IDLE and not self._backlog:
            self._transport.close()
        elif self._backlog:
            data, self._backlog = self._backlog, b""
            self._transport.resume_reading()
            self._feed(data)
        elif self._reading is WaitingFor.IDLE:
            self._await(WaitingFor.IDLE, timeouts.idle_s)
        elif self._reading is not self._wait:
            self._mark = 0
            self._await(self._reading, timeouts.head_s if self._reading is WaitingFor.HEAD else timeouts.body_s)

    def _stuck(self) -> bool:
        """Whether nothing can be begun: a request is being handled, or it is over."""
        return self._pending is not None or self._ended or self._lost or self._wait is WaitingFor.LINGER

    def _begin(self, received: Received) -> None:
        request = received.request

        def answer(response: HttpResponse) -> None:
            if self._pending is received:
                self._answered(received, response)
                if not self._beginning:
                    self._advance()

        self._pending = received
        self._beginning = True  # an answer given at once must not go deeper
        try:
            self._server.answer(request, answer)
        except Exception:
            log.exception("unhandled error for %s %s", request.method, request.path)
            answer(plain(500, "internal error"))
        finally:
            self._beginning = False

    def _answered(self, received: Received, response: HttpResponse) -> None:
        request, keep_alive, http10 = received
        self._pending = None
        if self._held != (0, 0):
            self._hold(0, 0)
        if self._is_unauthenticated and not self._lost:
            if request.verified:
                self._is_unauthenticated = False
                self._head_limit = self._server.limits.head_bytes
                self._server.slots.mark_authenticated(self)
            else:
                self._server.slots.mark_used(self)
        if isinstance(request.body, Path):
            self._delete_spooled(request)
        if self._lost:
            self._gone()
            return
        if response is NO_ANSWER:
            self._ended = self._last = True
            self._transport.abort()
            return
        keep_alive = keep_alive and not self._last
        self._send(request, response, keep_alive=keep_alive, http10=http10)
        if not keep_alive:
            self._ended = True
            self._mark = self._transport.get_write_buffer_size()
            self._await(WaitingFor.WRITE, self._server.timeouts.body_s)
            self._transport.close()

    def _send(self, request: HttpRequest | None, response: HttpResponse, *, keep_alive: bool, http10: bool = False) -> None:
        date = self._server.date.line()
        try:
            pieces = render(request, response, date, keep_alive=keep_alive, http10=http10)
        except ValueError as error:
            log.error("unsendable answer to %s: %s", request.path if request else "-", error)
            pieces = render(request, plain(500, "internal error"), date, keep_alive=keep_alive, http10=http10)
        for piece in pieces:
            self._transport.write(piece)

    def _drop_received(self) -> None:
        """What has been received of a refused request is of no use: while the connection lingers, it takes no memory."""
        if self._body is not None:
            self._body.discard()
        self._hold(0, 0)
        self._parser = httptools.HttpRequestParser(self)  # holds what it has of a header
        self._url, self._headers, self._request, self._backlog = b"", [], None, b""

    def _delete_spooled(self, request: HttpRequest) -> None:
        if isinstance(request.body, Path):  # off the loop: freeing tens of megabytes takes the kernel milliseconds
            self._loop.run_in_executor(None, request.body.unlink, True)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _await(self, wait: WaitingFor, seconds: float) -> None:
        """Set what is waited for and until when. The timer is left alone unless it would fire too late: most deadlines never come."""
        self._wait = wait
        self._deadline = self._server.clock.monotonic() + seconds
        if self._deadline < self._timer_at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._server.clock.call_later(self._deadline - self._server.clock.monotonic(), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._deadline == math.inf:
            return
        if self._server.clock.monotonic() >= self._deadline and self._expire():
            self._deadline = math.inf
        else:
            self._arm()

    def _expire(self) -> bool:
        """The deadline has passed: True if that ended the wait, False if enough has moved to go on (with a new deadline)."""
        timeouts = self._server.timeouts
        if self._wait is WaitingFor.IDLE:
            self._transport.close()
        elif self._wait is WaitingFor.BODY and self._body is not None and self._body.size - self._mark >= timeouts.progress_bytes:
            self._mark = self._body.size
            self._deadline += timeouts.body_s
            return False
        elif self._wait in (WaitingFor.HEAD, WaitingFor.BODY):
            self._refuse(plain(408, "the request took too long to arrive"))
            self._advance()
            return False  # lingering, with its own deadline
        elif self._wait is WaitingFor.WRITE and self._mark - self._transport.get_write_buffer_size() >= timeouts.progress_bytes:
            self._mark = self._transport.get_write_buffer_size()
            self._deadline += timeouts.body_s
            return False
        else:
            self._transport.abort()
        return True
