"""Hanabi's own endpoints, `/_hanabi/<name>`: each declares its method, its body and who may call it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from hanabi.contracts.http import AsyncHttpHandler, HttpRequest, HttpResponse
from hanabi.edge.auth.sigv4 import Verifier
from hanabi.edge.hosts import OwnHosts
from hanabi.edge.protocols.codec import write_json
from hanabi.edge.service import DOCUMENT_BYTES
from hanabi.errors import AccessDenied, ApiError, RequestEntityTooLarge, UnknownOperation, ValidationError
from hanabi.http.limits import BodyRule
from hanabi.http.target import is_canonical

PREFIX = "/_hanabi/"
SIGNING_NAME = "hanabi"  # what requests are signed for


class Access(Enum):
    """Who may call an endpoint."""

    OWNER = "a key of the node's own account"
    ACCOUNT = "a key of any account, about what that has in the region it signs for"
    GRANTED = "whoever holds a URL that its handler checks; `/_hanabi/<name>/<what>`"
    OPEN = "everybody who uses one of Hanabi's own host names"


@dataclass(frozen=True, slots=True)
class OwnEndpoint:
    """One endpoint. `body` is the rule for callers with access; the handler raises `ApiError`s."""

    name: str
    handler: AsyncHttpHandler
    methods: tuple[str, ...] = ("GET",)
    access: Access = Access.OWNER
    body: BodyRule = BodyRule(DOCUMENT_BYTES)


class OwnEndpointGroup(Protocol):
    """A group of endpoints."""

    @property
    def endpoints(self) -> Sequence[OwnEndpoint]: ...


class MethodNotAllowed(ApiError):
    code = "MethodNotAllowedException"
    status = 405


class OwnEndpoints:
    """All endpoints of a node."""

    def __init__(self, endpoints: Sequence[OwnEndpoint], verifier: Verifier, hosts: OwnHosts, account: str) -> None:
        """`account` is the node's own."""
        self._account = account
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._verifier = verifier
        self._hosts = hosts

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """An `AsyncHttpHandler` for paths below `PREFIX`."""
        try:
            if not is_canonical(request.path):
                raise ValidationError("The path of the request is not in canonical form")
            name, _, what = request.path.removeprefix(PREFIX).partition("/")
            endpoint = self._endpoints.get(name)
            if endpoint is not None and bool(what) != (endpoint.access is Access.GRANTED):
                endpoint = None
            if endpoint is None or endpoint.access in (Access.OWNER, Access.ACCOUNT):
                await self._check_key(request, name, endpoint is not None and endpoint.access is Access.ACCOUNT)
            if endpoint is None:
                raise UnknownOperation(f"There is no {PREFIX}{name}")
            if endpoint.access is Access.OPEN:
                self._hosts.check(request)
            if request.method not in endpoint.methods:
                raise MethodNotAllowed(f"{' or '.join(endpoint.methods)} only")
            return await endpoint.handler(request)
        except ApiError as error:
            return _fail(error)

    def body_rule(self, request: HttpRequest, *, owner: bool) -> BodyRule:
        """Return the body rule of a request. `owner`: whether it names the key of an account."""
        endpoint = self._endpoints.get(request.path.removeprefix(PREFIX))
        if endpoint is not None and owner and endpoint.access in (Access.OWNER, Access.ACCOUNT):
            return endpoint.body
        return BodyRule(DOCUMENT_BYTES)

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        return _fail(RequestEntityTooLarge(f"Request must be smaller than {limit_bytes} bytes for {request.path[:100]}"))

    async def _check_key(self, request: HttpRequest, name: str, any_account: bool) -> None:
        principal = await self._verifier.verify(request, SIGNING_NAME)
        request.caller = principal.arn
        if not principal.is_root or not (any_account or principal.account == self._account):
            raise AccessDenied(f"User: {principal.arn} is not authorized to use {PREFIX}{name}")


def _fail(error: ApiError) -> HttpResponse:
    headers = [("content-type", "application/json"), ("x-amzn-errortype", error.code)]
    return HttpResponse(error.status, headers, write_json({"message": error.message}))
