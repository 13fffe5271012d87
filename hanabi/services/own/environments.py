"""`/_hanabi/environments`: what `hanabi ps` shows."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.own_endpoints import OwnEndpoint


class EnvironmentsEndpoint:
    """`parts` gives each part of the answer by its name: "environments", "provisioned", "events", "budget"."""

    def __init__(self, parts: Mapping[str, Callable[[], Any]]) -> None:
        self._parts = dict(parts)
        self.endpoints = (OwnEndpoint("environments", self.handle),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        shown = {name: describe() for name, describe in self._parts.items()}
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(shown).encode())
