"""`/_hanabi/environments`: what `hanabi ps` shows."""

import json
from collections.abc import Callable
from typing import Any

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.own_endpoints import OwnEndpoint


class EnvironmentsEndpoint:
    """The endpoint. Each part of the answer is under its name."""

    def __init__(self, **parts: Callable[[], Any]) -> None:
        self._parts = parts
        self.endpoints = (OwnEndpoint("environments", self.handle),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        shown = {name: describe() for name, describe in self._parts.items()}
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(shown).encode())
