"""`/_hanabi/urls`: each function URL with its host name besides its address."""

import json
from collections.abc import Callable

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.control.plane import ControlPlane
from hanabi.edge.own_endpoints import OwnEndpoint


class UrlsEndpoint:
    """The endpoint. `name_of` makes the URL with a host name from a function URL's id."""

    def __init__(self, control: ControlPlane, name_of: Callable[[str], str]) -> None:
        self._control = control
        self._name_of = name_of
        self.endpoints = (OwnEndpoint("urls", self.handle),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        shown = [
            {"function": url.function, "qualifier": url.qualifier, "url": self._control.urls.url_for(url.id), "name": self._name_of(url.id)}
            for function in self._control.functions
            for url in function.urls.values()
        ]
        return HttpResponse(200, [("content-type", "application/json")], json.dumps({"urls": shown}).encode())
