"""`/_hanabi/keys`: keys of accounts, for the node's owner: listed, made and deleted. What `hanabi keys` asks for."""

import asyncio
import json
from typing import Any

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.control.arns import is_account
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.own_endpoints import OwnEndpoint
from hanabi.errors import ResourceNotFound, ServiceError, StateError, ValidationError


class KeysEndpoint:
    """The endpoint. GET lists keys without their secrets, POST {"account"} makes one, DELETE {"access_key"} deletes one."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._changing = asyncio.Lock()
        self.endpoints = (OwnEndpoint("keys", self.handle, ("GET", "POST", "DELETE")),)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        try:
            async with self._changing:
                answer = await self._handle(request)
        except (StateError, OSError) as error:
            raise ServiceError(f"The keys cannot be read or written: {error}") from error
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(answer).encode())

    async def _handle(self, request: HttpRequest) -> dict[str, Any]:
        keys = self._keys
        if request.method == "GET":
            known = await asyncio.to_thread(keys.account_keys)
            return {"keys": [{"access_key": each.access_key, "account": each.account, "created": each.created} for each in known]}
        given = _read(request)
        if request.method == "POST":
            if not is_account(given.get("account", "")):
                raise ValidationError("account is an id of 12 digits")
            made = await asyncio.to_thread(keys.create_account_key, given["account"])
            return {"access_key": made.access_key, "secret_key": made.secret_key, "account": made.account}
        access_key = given.get("access_key", "")
        if access_key == keys.root.access_key:
            raise ValidationError("The owner's key cannot be deleted")
        if not await asyncio.to_thread(keys.delete_account_key, access_key):
            raise ResourceNotFound(f"There is no key {access_key[:128]}")
        return {}


def _read(request: HttpRequest) -> dict[str, str]:
    try:
        given = json.loads(request.body) if isinstance(request.body, bytes) else None
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise ValidationError("The body is a JSON object of texts")
    return given
