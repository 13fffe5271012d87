"""The body that one connection is receiving: in memory, in a file or as a stream, and counted over all connections."""

import logging
from pathlib import Path

from hanabi.base.stream_buffer import StreamBuffer
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.http.context import ServerContext
from hanabi.http.limits import SPOOL_BYTES, BodyRule
from hanabi.http.response import plain
from hanabi.http.spool import BodyBuffer

COUNTED_BYTES = 64 * 1024  # smaller bodies are not worth counting
log = logging.getLogger(__name__)


class ReceivedBody:
    """One body: `begin` with its rule, `add` its chunks, then `finish` or `discard`. A small one needs no `begin`."""

    def __init__(self, context: ServerContext) -> None:
        self.held = (0, 0)  # this connection's parts of context.buffered and context.spooled
        self.known = False  # the request names a key that exists
        self._context = context
        self._limit_bytes = 0
        self.kept: BodyBuffer | StreamBuffer | None = None  # of a body that has begun

    @property
    def size(self) -> int:
        """How many bytes have been received."""
        return self.kept.size if self.kept is not None else 0

    def begin(self, rule: BodyRule, stream: StreamBuffer | None = None) -> None:
        self._limit_bytes, self.known = rule.limit_bytes, rule.known
        self.kept = stream or BodyBuffer(self._context.spool if rule.spool else None, SPOOL_BYTES)

    def add(self, request: HttpRequest, chunk: bytes, announced: int) -> HttpResponse | None:
        """Take a chunk. Returns the refusal when it is too much. `announced` is the declared size of a body that was not begun."""
        kept, context = self.kept, self._context
        if kept is None:
            self._limit_bytes, self.known = announced, False
            kept = self.kept = BodyBuffer(None, SPOOL_BYTES)
        if kept.size + len(chunk) > self._limit_bytes:
            return context.refuse(request, None, self._limit_bytes)
        try:
            kept.add(chunk)
        except OSError as error:
            log.error("cannot spool a request body: %s", error)
            return plain(507, "no room for the request body")
        return self._count(kept) if kept.size > COUNTED_BYTES else None

    def finish(self) -> bytes | Path:
        kept, self.kept = self.kept, None
        assert isinstance(kept, BodyBuffer)
        return kept.finish()

    def discard(self) -> None:
        kept, self.kept = self.kept, None
        if isinstance(kept, BodyBuffer):
            kept.discard()

    def hold(self, buffered: int, spooled: int) -> None:
        """Set how many bytes of bodies the connection holds now."""
        if (buffered, spooled) != self.held:
            self._context.buffered += buffered - self.held[0]
            self._context.spooled += spooled - self.held[1]
            self.held = buffered, spooled

    def _count(self, kept: BodyBuffer | StreamBuffer) -> HttpResponse | None:
        context = self._context
        if isinstance(kept, StreamBuffer):
            self.hold(kept.held_bytes, 0)
        else:
            self.hold(*((kept.size, 0) if kept.in_memory else (0, kept.size)))
        while context.buffered > context.limits.buffered_bytes and self.known and context.slots.drop_unauthenticated_body():
            pass
        if context.buffered > context.limits.buffered_bytes or context.spooled > context.limits.spooled_bytes:
            return plain(503, "too many large requests at once")
        return None
