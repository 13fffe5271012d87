"""One client connection: bytes in, requests to the handler one at a time, answers out in order. Its timeouts are in `connection_waits`."""

import asyncio
import socket
import struct
from typing import cast

from hanabi.http.connection_slots import group_peers
from hanabi.http.connection_waits import BODY, HANDLER, HEAD, IDLE, LINGER, WRITE, WaitingFor, WaitTimer
from hanabi.http.context import ServerContext
from hanabi.http.request_reader import RequestReader
from hanabi.http.responder import Ending, Responder
from hanabi.http.response import CONTINUE, plain

SLICE_BYTES = 16 * 1024  # are parsed at once; a chunk of a body costs as much as many of its bytes
FLOOD_SLICE_BYTES = 2 * 1024
FLOOD_PAUSE_S = 0.002


class Connection(asyncio.Protocol):
    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._peer = ""
        self.peer = ""  # the same, grouped: the client whose share of the slots this counts towards
        self._wait = IDLE
        self._deadline = WaitTimer(context.clock, self._expire)
        self._mark = 0  # bytes moved when the deadline was last set
        self._backlog = b""  # came while a request was being handled; not parsed yet
        self._rest = memoryview(b"")  # of a flood of tiny chunks: not parsed yet
        self._writable = True
        self._ended = False  # the last answer was given: nothing more is handled
        self._late = False  # it came when the server was draining
        self.last = False  # answer what is there, then close
        self.lost = False

    # --- the transport ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        context = self._context
        if context.name_peers:
            peer = transport.get_extra_info("peername")
            self._peer = peer[0] if isinstance(peer, tuple) else ""
            self.peer = group_peers(self._peer)
        self.reader = RequestReader(context, self, self._peer)
        self._responder = Responder(context, self)
        if context.closing or not context.slots.add(self):
            self.lost = True
            self.transport.abort()
            return
        self.last = self._late = context.draining
        self._await(IDLE, context.timeouts.idle_s)

    def data_received(self, data: bytes) -> None:
        if self._wait is LINGER or self.lost:
            return
        reader = self.reader
        if (self._responder.pending is None and self._writable) or reader.stream is not None:
            if len(data) <= SLICE_BYTES:
                reader.feed(data)
            else:
                self._feed_slices(memoryview(data))
            if reader.stream is not None and reader.stream.is_full:
                self.transport.pause_reading()
            self.advance()
        else:
            self._backlog += data
            self.transport.pause_reading()

    def _feed_slices(self, data: memoryview) -> None:
        """Feed many bytes. Where they are a flood of tiny chunks, feed less, the rest after a pause, so that others have their turn."""
        reader = self.reader
        while data and reader.refusal is None:
            size = FLOOD_SLICE_BYTES if reader.is_flooded else SLICE_BYTES
            reader.feed(bytes(data[:size]))
            data = data[size:]
            if reader.is_flooded and data and reader.refusal is None:
                self._rest = data
                self.transport.pause_reading()
                self._context.clock.call_later(FLOOD_PAUSE_S, self._feed_rest)
                return

    def _feed_rest(self) -> None:
        rest, self._rest = self._rest, memoryview(b"")
        if self.lost or self._wait is LINGER:
            return
        self._feed_slices(rest)
        if self._rest:
            return
        if self.reader.stream is None or not self.reader.stream.is_full:
            self.transport.resume_reading()
        self.advance()

    def eof_received(self) -> bool:
        self.last = True
        if self._responder.pending is None:
            return not self._writable
        if self._context.cancel_abandoned:
            self._responder.cancel()
            return False
        return not self._responder.is_unread  # half-closed: the answer can still be sent

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = self.last = True
        self._deadline.close()
        self.reader.close()
        self._backlog = b""
        if self._responder.pending is None:
            self.gone()
        elif self._responder.stream is not None or self._context.cancel_abandoned:
            self._responder.cancel()

    def pause_writing(self) -> None:
        self._writable = False
        if self._responder.stream is not None:
            self._responder.stream.pause()
            self.watch()

    def resume_writing(self) -> None:
        self._writable = True
        if self._responder.stream is not None:
            self._responder.stream.resume()
            self.watch()
        else:
            self.advance()

    def send_continue(self) -> None:
        self.transport.write(CONTINUE)

    def on_taken(self) -> None:
        if not self.lost and not self._backlog and not self._rest:
            self.transport.resume_reading()
            self.watch()

    @property
    def busy(self) -> bool:
        """Whether a request is being handled or answered. One that arrived after the connection began to close does not count."""
        return not self._late and (self._responder.pending is not None or self._wait is WRITE)

    def wind_down(self) -> None:
        """Finish the request under way, then close: the server is stopping."""
        self.last = True
        if self._wait is IDLE:
            self.transport.close()

    def abort(self) -> bool:
        """Drop the connection. True if its handler was cancelled and has not ended yet."""
        stopping = self._responder.cancel()
        if not self.lost:
            self.transport.abort()
        return stopping

    def gone(self) -> None:
        self.reader.body.hold(0, 0)
        self._context.slots.remove(self)
        self._context.on_gone()

    # --- eviction: see `connection_slots` ---------------------------------------------------------------------------

    @property
    def handling(self) -> bool:
        """Whether a request is being handled."""
        return self._responder.pending is not None

    @property
    def idle_since(self) -> float:
        """A time that grows with when bytes were last received or sent."""
        return self._deadline.at

    @property
    def holds_body(self) -> bool:
        """Whether it is receiving a large body from a client that names no known access key."""
        return self._responder.pending is None and self.reader.body.held[0] > 0 and not self.reader.body.known

    def evict(self) -> None:
        self.reader.body.hold(0, 0)
        self.lost = self.last = True
        self.transport.abort()

    # --- one thing after another --------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Handle the oldest request, send the refusal or parse the backlog; otherwise wait for more bytes."""
        reader, ready = self.reader, self.reader.ready
        while ready and self._writable and not self._stuck():
            self._wait = HANDLER
            self._deadline.clear()
            self._responder.begin(ready.popleft())
        pending = self._responder.pending
        if pending is not None:
            if pending.stream is not None:
                self.watch()
            return
        if self._ended or self.lost or self._wait is LINGER:
            return
        timeouts = self._context.timeouts
        if not self._writable:
            self._mark = self.transport.get_write_buffer_size()
            self._await(WRITE, timeouts.body_s)
        elif reader.refusal is not None:
            self._responder.send(None, reader.refusal, keep_alive=False)
            self._linger()
        elif self.last and reader.reading is IDLE and not self._backlog:
            self.transport.close()
        elif self._backlog:
            data, self._backlog = self._backlog, b""
            self.transport.resume_reading()
            self.data_received(data)
        elif reader.reading is IDLE:
            self._await(IDLE, timeouts.idle_s)
        elif reader.reading is not self._wait:
            self._mark = 0
            self._await(reader.reading, timeouts.head_s if reader.reading is HEAD else timeouts.body_s)

    def _stuck(self) -> bool:
        """Whether no request can be begun: one is being handled, or the connection has ended."""
        return self._responder.pending is not None or self._ended or self.lost or self._wait is LINGER

    def end(self, ending: Ending) -> None:
        """End the connection: take no further request."""
        if ending is Ending.LINGER:
            self._linger()
            return
        self._ended = self.last = True
        if ending is Ending.CLOSE:
            self._mark = self.transport.get_write_buffer_size()
            self._await(WRITE, self._context.timeouts.body_s)
            self.transport.close()
            return
        if ending is Ending.RESET:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _linger(self) -> None:
        self.reader.drop()
        self._backlog = b""
        self.transport.resume_reading()
        self._mark = self.transport.get_write_buffer_size()
        self._await(LINGER, self._context.timeouts.linger_s)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # --- time ---------------------------------------------------------------------------------------------------------

    def _await(self, wait: WaitingFor, seconds: float) -> None:
        self._wait = wait
        self._deadline.set(seconds)

    def watch(self) -> None:
        """Set what a connection with a request in progress waits for: the client's bytes, the client's reading, or the handler."""
        pending = self._responder.pending
        if pending is None or self.lost:
            return
        wait, mark, stream = HANDLER, 0, self.reader.stream
        if self._responder.stream is not None and not self._writable:
            wait, mark = WRITE, self.transport.get_write_buffer_size()
        elif stream is not None and stream is pending.stream and not stream.is_full:
            wait, mark = BODY, stream.size
        if wait is self._wait:
            return
        self._wait, self._mark = wait, mark
        if wait is HANDLER:
            self._deadline.clear()
        else:
            self._deadline.set(self._context.timeouts.body_s)

    def _expire(self) -> None:
        """End the wait at its deadline, unless enough bytes have moved since it was set."""
        timeouts = self._context.timeouts
        if self._wait is IDLE:
            self.transport.close()
        elif self._wait is BODY and self.reader.body.size - self._mark >= timeouts.progress_bytes:
            self._mark = self.reader.body.size
            self._deadline.extend(timeouts.body_s)
        elif self._wait in (HEAD, BODY):
            self.reader.refuse(plain(408, "the request took too long to arrive"))
            self.advance()
        elif self._mark - self.transport.get_write_buffer_size() >= timeouts.progress_bytes:
            self._mark = self.transport.get_write_buffer_size()
            self._deadline.extend(timeouts.body_s)
        else:
            self.transport.abort()
