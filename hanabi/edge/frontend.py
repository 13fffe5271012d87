"""What a frontend is to the edge: plain HTTP on host names of its own, whatever the path is."""

from typing import Protocol

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.http.limits import BodyRule


class Frontend(Protocol):
    """Function URLs, HTTP APIs, a console. What arrives for its hosts never reaches the API or `/_hanabi/`."""

    draining: bool  # set when the server is stopping: nothing new is taken

    def serves(self, host: str) -> bool:
        """Whether a Host header, in lower case, perhaps with a port, is one of its own."""

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """An `AsyncHttpHandler`. Never raises for what a client did."""

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """How large this request may be."""

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        """The answer to one that is larger; `size` is what was declared."""
