"""`/_hanabi/urls`: each function URL with its host name besides its address."""

import json
from collections.abc import Callable

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.control.arns import AccountRegion
from hanabi.control.plane import ControlPlane
from hanabi.edge.own_endpoints import Access, OwnEndpoint


class UrlsEndpoint:
    """The endpoint. `find` finds an open plane. `name_of` makes the URL with a host name from a function URL's id."""

    def __init__(self, find: Callable[[AccountRegion], ControlPlane | None], name_of: Callable[[str], str]) -> None:
        self._find = find
        self._name_of = name_of
        self.endpoints = (OwnEndpoint("urls", self.handle, access=Access.ACCOUNT),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        plane = self._find(AccountRegion(request.account, request.region))
        shown = []
        if plane is not None:
            shown = [
                {"function": url.function, "qualifier": url.qualifier, "url": plane.urls.url_for(url.id), "name": self._name_of(url.id)}
                for function in plane.functions
                for url in function.urls.values()
            ]
        return HttpResponse(200, [("content-type", "application/json")], json.dumps({"urls": shown}).encode())
