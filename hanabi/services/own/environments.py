"""`/_hanabi/environments`: what `hanabi ps` shows."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.own_endpoints import Access, OwnEndpoint

Rows = Callable[[], Sequence[dict[str, Any]]]


class EnvironmentsEndpoint:
    """The endpoint. `rows` have the `account` and `region` of their function; `parts` are about the whole node. Each is under its name.

    The node's own account is shown all, other accounts what is theirs in the region that they sign for.
    """

    def __init__(self, account: str, rows: dict[str, Rows], parts: dict[str, Callable[[], Any]]) -> None:
        self._account = account
        self._rows = rows
        self._parts = parts
        self.endpoints = (OwnEndpoint("environments", self.handle, access=Access.ACCOUNT),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        if request.account == self._account:
            shown = {name: describe() for name, describe in {**self._rows, **self._parts}.items()}
        else:
            mine = (request.account, request.region)
            shown = {name: [row for row in rows() if (row["account"], row["region"]) == mine] for name, rows in self._rows.items()}
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(shown).encode())
