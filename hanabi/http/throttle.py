"""A rate limit on requests, and a delay on refusals.

All clients share the event loop, so one that floods it, or is refused again and again, waits.
"""

import logging
from collections.abc import Callable
from functools import partial

from hanabi.base.clock import Clock
from hanabi.contracts.http import NO_ANSWER, Answer, HttpHandler, HttpRequest, HttpResponse
from hanabi.http.limits import Limits
from hanabi.http.response import plain

RATE_BURST_S = 1.0  # of requests that `Limits.rate` lets through at once
RATED_BYTES = 16 * 1024  # bytes of a body that count as one more request: reading them takes the loop's time
log = logging.getLogger(__name__)


class Throttle:
    """The limiter. `handle` is the `HttpHandler` of a server whose limits have a `rate` or a `refusal_s`."""

    def __init__(self, handler: HttpHandler, limits: Limits, clock: Clock) -> None:
        self._handler = handler
        self._limits = limits
        self._clock = clock
        self._due = 0.0  # when the next request would be handled at the greatest rate

    def handle(self, request: HttpRequest, answer: Answer) -> None:
        limits = self._limits
        if limits.refusal_s:
            answer = partial(self._answer, request, answer)
        if limits.rate:
            now = self._clock.monotonic()
            size = len(request.body) if isinstance(request.body, bytes) else 0
            self._due = max(self._due, now - RATE_BURST_S) + (1 + size // RATED_BYTES) / limits.rate
            if self._due > now:
                self._wait(self._due - now, request, answer, partial(self._handler, request, answer))
                return
        self._handler(request, answer)

    def _answer(self, request: HttpRequest, answer: Answer, response: HttpResponse) -> None:
        if response.status >= 400:
            self._wait(self._limits.refusal_s, request, answer, partial(answer, response))
        else:
            answer(response)

    def _wait(self, seconds: float, request: HttpRequest, answer: Answer, then: Callable[[], None]) -> None:
        def end() -> None:
            request.cancel = None
            try:
                then()
            except Exception:
                log.exception("unhandled error for %s %s", request.method, request.path)
                answer(plain(500, "internal error"))

        def cancel() -> None:
            timer.cancel()
            request.cancel = None
            answer(NO_ANSWER)

        timer = self._clock.call_later(seconds, end)
        request.cancel = cancel
