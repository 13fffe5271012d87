"""Parse the bytes of one connection into requests, within limits for heads and bodies; refuse the rest."""

from collections import deque
from pathlib import Path
from typing import Protocol

import httptools

from hanabi.base.stream_buffer import StreamBuffer
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.errors import BodyIncomplete
from hanabi.http.connection_slots import SlotHolder
from hanabi.http.connection_waits import BODY, HEAD, IDLE
from hanabi.http.context import ServerContext
from hanabi.http.limits import ALWAYS_BYTES
from hanabi.http.received_body import ReceivedBody
from hanabi.http.repeated_head import RepeatedHead
from hanabi.http.response import plain
from hanabi.http.spool import delete_spooled

CHUNKS_AT_ONCE = 64  # in one slice: more are a flood
READS, NAMES_MAX = 4096, 1024  # reads that a head may come in; names that are kept
HEADER_BYTES = 160  # what a header takes in memory beyond its own bytes
_HEAD_TOO_LARGE = plain(431, "the request line and headers are too large")
_names: dict[bytes, str] = {}  # of headers, as clients write them
_methods: dict[bytes, str] = {}


class Received:
    """A request ready to be handled, and whether its answer ends the connection."""

    __slots__ = ("request", "keep_alive", "http10", "stream")

    def __init__(self, request: HttpRequest, keep_alive: bool, http10: bool, stream: StreamBuffer | None) -> None:
        self.request = request
        self.keep_alive = keep_alive
        self.http10 = http10
        self.stream = stream  # its body, when it is read while it is handled


class ReaderOwner(SlotHolder, Protocol):
    """The connection."""

    def send_continue(self) -> None:
        """Tell the client to go on with the body."""

    def on_taken(self) -> None:
        """Note that the handler took some of the streamed body."""


class RequestReader:
    """The reader: `feed` it, then look at `ready`, `refusal` and `reading`. The parser calls the `on_...` methods."""

    def __init__(self, context: ServerContext, owner: ReaderOwner, address: str) -> None:
        self.ready: deque[Received] = deque()
        self.refusal: HttpResponse | None = None  # of what is being received; nothing more is read
        self.reading = IDLE  # IDLE, HEAD or BODY: where the parser is
        self.stream: StreamBuffer | None = None  # the body that is being received, if its handler reads it meanwhile
        self.head_limit = context.limits.unauthenticated_head_bytes or context.limits.head_bytes
        self.authenticated = False  # a signature has been verified on the connection
        self.body = ReceivedBody(context)  # what is there of the body that is being received
        self._context = context
        self._owner = owner
        self._address = address
        self._parser = httptools.HttpRequestParser(self)
        self._repeated: RepeatedHead | None = None
        self._unlike = 0  # requests of an authenticated client that were not the same head again
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._header_limit = context.limits.headers
        self._unseen = 0  # bytes given to the parser since it last got anywhere
        self.is_flooded = False  # by a body of very many tiny chunks
        self._chunks = 0  # in what is being fed
        self._bulk = False  # more was given than a head may have: its size is to be counted
        self._reads = 0  # that have not completed the head
        self._head_held = False  # `slots` knows of an incomplete head
        self._request: HttpRequest | None = None  # its headers are complete, its body is not
        self._small = 0  # the size of the body, if it is to come whole in one piece

    def feed(self, data: bytes) -> None:
        if self._repeated is not None and self.reading is IDLE and self.refusal is None and not self.ready:
            request = self._repeated.read(data)
            if request is not None:
                self.ready.append(Received(request, True, False, None))
                return
        may_learn = self.authenticated and self.reading is IDLE and not self.ready
        self._parse(data)
        if may_learn and self.reading is IDLE and len(self.ready) == 1:
            self._learn(data, self.ready[0])

    def _learn(self, data: bytes, received: Received) -> None:
        """Learn a head unlike the one known, but only the 1st, 2nd, 4th, 8th ... such: a client whose heads all differ pays little."""
        self._unlike += 1
        if self._unlike & (self._unlike - 1) == 0 and received.keep_alive and not received.http10:
            self._repeated = RepeatedHead.learn(data, received.request)

    def _parse(self, data: bytes) -> None:
        self._chunks = 0
        while data and self.refusal is None:
            self._unseen += len(data)
            self._bulk = self._unseen > self.head_limit
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:  # offered (h2c, websocket) and not taken: go on in HTTP/1.1
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self.refuse(plain(400, "malformed request"))
        if self.reading is IDLE:
            self._unseen = 0
        elif self._unseen > self.head_limit:  # headers, trailers or chunk extensions without end
            self.refuse(_HEAD_TOO_LARGE)
        if self.reading is HEAD or self._head_held:
            self._hold_head()

    def refuse(self, response: HttpResponse) -> None:
        if self.refusal is None:
            self.refusal = response
            self._break_off("the request was refused while it arrived")

    def drop(self) -> None:
        """Free what was received of a refused request, so that a lingering connection holds no memory."""
        self._break_off("nobody reads it any more")
        self.body.discard()
        self.body.hold(0, 0)
        self._parser = httptools.HttpRequestParser(self)  # holds what it has of a header
        self._url, self._headers, self._request = b"", [], None

    def close(self) -> None:
        """Free everything: the connection is lost."""
        self._repeated = None
        self._break_off("the client has gone")
        self.body.discard()
        for received in self.ready:
            if isinstance(received.request.body, Path):
                delete_spooled(received.request.body)
        self.ready.clear()
        del self._parser  # it refers back to this reader

    def _break_off(self, why: str) -> None:
        if self.stream is not None:
            self.stream.fail(BodyIncomplete(why))
            self.stream = None

    def _hold_head(self) -> None:
        self._reads += 1
        if self._reads > READS:  # each copies what is there of a header
            self.refuse(_HEAD_TOO_LARGE)
        is_incomplete = self.reading is HEAD and self.refusal is None
        size = self._unseen + HEADER_BYTES * len(self._headers) + 1 if is_incomplete else 0
        self._head_held = is_incomplete
        self._context.slots.hold_head(self._owner, size)

    # --- the parser ---------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.reading = HEAD
        self._reads = 0
        self._url = b""
        self._headers = []
        self._small = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if self.reading is not HEAD:
            self._add_trailer(name, value)
        elif len(headers) < self._header_limit:
            headers.append((_names.get(name) or _header_name(name), value.decode("latin-1")))
        else:
            self.refuse(plain(431, "too many headers"))

    def _add_trailer(self, name: bytes, value: bytes) -> None:
        request = self._request
        if request is None or self.refusal is not None:
            return
        if len(self._headers) + len(request.trailers) >= self._header_limit:
            self.refuse(plain(431, "too many headers"))
        else:
            request.trailers = (*request.trailers, (_header_name(name), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if self.refusal is not None:
            return
        self.reading = BODY
        if self._bulk and sum(len(name) + len(value) + 4 for name, value in self._headers) + len(self._url) > self.head_limit:
            self.refuse(_HEAD_TOO_LARGE)
            return
        self._unseen = 0
        target = self._url.decode("latin-1")
        path, _, query = target.partition("?")
        method = self._parser.get_method()
        request = HttpRequest(_methods.get(method) or _method(method), target, path, query, self._headers, b"", self._address)
        self._request = request
        fields = request.fields
        if (target[:1] != "/" and target != "*") or "#" in target:
            self.refuse(plain(400, "malformed request target"))
        elif request.repeated and sum(name == "host" for name, _ in self._headers) > 1:
            self.refuse(plain(400, "more than one host"))  # routing and signing could each read another one
        elif "transfer-encoding" in fields:
            self._expect_body(request, None)
        elif "content-length" in fields:
            size = int(fields["content-length"] or 0)  # the parser vouches for the number
            if size > ALWAYS_BYTES:
                self._expect_body(request, size)
            elif size:
                self._small = size
                self._invite(fields)

    def _expect_body(self, request: HttpRequest, size: int | None) -> None:
        rule = self._context.limits.body(request)
        if size is not None and size > rule.limit_bytes:
            self.refuse(self._context.refuse(request, size, rule.limit_bytes))
            return
        self._invite(request.fields)
        if not rule.stream:
            self.body.begin(rule)
            return
        self.stream = StreamBuffer(self._on_taken)
        request.body = self.stream
        self.body.begin(rule, self.stream)
        self._add(request, self.stream)

    def _invite(self, fields: dict[str, str]) -> None:
        if "expect" in fields and not self.ready and fields["expect"].lower() == "100-continue":
            self._owner.send_continue()

    def on_body(self, chunk: bytes) -> None:
        self._unseen = 0
        self._chunks += 1
        if self._chunks > CHUNKS_AT_ONCE:
            self.is_flooded = True
        request = self._request
        if self.refusal is not None or request is None:
            return
        if len(chunk) == self._small:  # all of it
            request.body = chunk
            return
        refusal = self.body.add(request, chunk, self._small)
        if refusal is not None:
            self.refuse(refusal)

    def on_message_complete(self) -> None:
        self.reading = IDLE
        request, self._request = self._request, None
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.end()
        if stream is not None or self.refusal is not None or request is None:
            self.body.discard()
            return
        if self.body.kept is not None:
            request.body = self.body.finish()
        self._add(request, None)

    def _add(self, request: HttpRequest, stream: StreamBuffer | None) -> None:
        parser = self._parser
        self.ready.append(Received(request, parser.should_keep_alive(), parser.get_http_version() == "1.0", stream))
        if len(self.ready) > self._context.limits.pipelined:
            self.refuse(plain(400, "too many pipelined requests"))

    def _on_taken(self) -> None:
        self.body.hold(0, 0)
        self._owner.on_taken()


def _header_name(name: bytes) -> str:
    text = name.decode("latin-1").lower()
    if len(_names) < NAMES_MAX and len(name) <= 64:
        _names[name] = text
    return text


def _method(method: bytes) -> str:
    """Return the method as an interned text. The parser accepts a fixed set only."""
    return _methods.setdefault(method, method.decode())
