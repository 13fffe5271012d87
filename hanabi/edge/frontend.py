"""The protocol of a frontend: a handler of plain HTTP on its own host names, for all paths."""

from typing import Protocol

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.http.limits import BodyRule


class Frontend(Protocol):
    """A frontend: function URLs, for example. Requests for its hosts never reach the API or `/_hanabi/`."""

    draining: bool  # set when the server is stopping: nothing new is taken

    def serves(self, host: str) -> bool:
        """Whether a Host header (lower case, perhaps with a port) is the frontend's."""

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Handle a request, as an `AsyncHttpHandler`. Never raises for a client's mistake."""

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """Return how large this request may be."""

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        """Make the answer to a larger one. `size` is the declared size."""
