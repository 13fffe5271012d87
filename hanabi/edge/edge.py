"""The edge: every request comes in here, is told apart, verified, read, handled and answered."""

import asyncio
import errno
import ipaddress
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import CoroutineType
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.key_file import fingerprint
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import AsyncHttpHandler, HttpRequest, HttpResponse
from hanabi.edge import welcome_page
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.auth.sigv4 import Verifier, find_signature_claim
from hanabi.edge.large_json import JsonWorkers, blob_pointers
from hanabi.edge.protocols.aws_json import Json11
from hanabi.edge.protocols.codec import Codec, Match, write_json
from hanabi.edge.protocols.model import Model, known_services, load
from hanabi.edge.protocols.query import Query
from hanabi.edge.protocols.rest_json import RestJson
from hanabi.edge.service import NOTHING, Call, Operation, RequiredPermission, Service
from hanabi.errors import (
    AccessDenied,
    ApiError,
    InvalidSignature,
    MissingAuthenticationToken,
    NotImplementedOperation,
    RequestEntityTooLarge,
    ServiceError,
    ServiceUnavailable,
    UnknownOperation,
    UnrecognizedClient,
    ValidationError,
)
from hanabi.frontends.function_urls.handler import BODY_BYTES, refuse_large
from hanabi.http.headers import join_repeated
from hanabi.http.limits import BodyRule
from hanabi.http.target import is_canonical
from hanabi.services.lambda_.code_upload import LIMIT_BYTES as STAGED_BYTES
from hanabi.services.lambda_.payload import SYNC_BYTES, check_size, payload_limit

log = logging.getLogger(__name__)

UPLOAD_BYTES = 70_167_211  # of a request that carries code
ZIP_BYTES = 52_428_800  # of the code itself
DOCUMENT_BYTES = 1 << 20  # of any other request
SLACK_BYTES = 256 * 1024  # beyond a limit whose error the handler words

RETRY_AFTER_S = 5  # when the server is stopping
OWN_PREFIX = "/_hanabi/"
UPLOADS_PATH = OWN_PREFIX + "uploads"
_URL_LABEL = ".lambda-url."
_CODECS: dict[str, Callable[[Model], Codec]] = {"rest-json": RestJson, "query": Query, "json": Json11}
_XML_SERVICES = frozenset({"cloudfront", "route53", "s3"})  # their clients read errors in XML only
_PAYLOADS = frozenset({"Invoke", "InvokeAsync", "InvokeWithResponseStream"})


Authorize = Callable[[Principal, HttpRequest, RequiredPermission], Awaitable[None]]


def make_request_id() -> str:
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"


class Edge:
    """All services of a node on one port, told apart as AWS does: by host, signature scope and path.

    `gateway` gets what comes in on `<id>.lambda-url.*` hosts, whatever it is. `own` handlers serve `/_hanabi/<name>`
    for the owner's key, signed for the service `hanabi`; `granted` ones serve `/_hanabi/<name>/<what>` for URLs that they check themselves.
    `hosts` are names, besides loopback ones, that unsigned requests may use. `authorize` raises `AccessDenied` for a touch that its
    caller may not; without it, only the owner may do anything.
    """

    def __init__(
        self,
        services: Sequence[Service],
        keys: KeyRing,
        clock: Clock,
        region: str,
        *,
        gateway: AsyncHttpHandler | None = None,
        own: Mapping[str, AsyncHttpHandler] | None = None,
        granted: Mapping[str, AsyncHttpHandler] | None = None,
        hosts: Sequence[str] = (),
        authorize: Authorize | None = None,
        spool: Path | None = None,
    ) -> None:
        self.verifier = Verifier(keys, clock, region)
        self.workers = JsonWorkers(clock, spool)
        self._services = {service.name: service for service in services}
        self._operations = {service.name: _checked(service) for service in services}
        self._codecs: dict[str, Codec] = {}
        for service in services:
            model = load(service.name)
            self._codecs[service.name] = _CODECS[model.protocol](model)
        self._uploads = {
            (service.name, operation): pointers
            for service in services
            for operation in service.operations
            if (pointers := blob_pointers(load(service.name).operation(operation).input_shape))
        }
        self._keys = keys
        self._region = region
        self._gateway = gateway
        self._own = dict(own or {})
        self._granted = dict(granted or {})
        self._authorize = authorize
        self.draining = False  # nothing new is taken, but from inside environments: what runs there is to end well
        self._hosts = frozenset(host.lower() for host in hosts)

    # --- for the HTTP server ------------------------------------------------------------------------------------------

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Everything that arrives on the node's port."""
        if _URL_LABEL in request.header("host").lower():
            if self._gateway is None:
                return HttpResponse(404, [("content-type", "application/json")], b'{"Message":null}')
            return await self._gateway(request)
        if request.path.startswith(OWN_PREFIX):
            return await self._handle_own(request)
        if self.draining:
            return self._unavailable(request)
        if welcome_page.is_asked_for(request) and self._is_own_host(request):
            return welcome_page.answer()
        return await self._handle_api(request, None)

    def _unavailable(self, request: HttpRequest) -> HttpResponse:
        error = ServiceUnavailable("Hanabi is shutting down. Please try again.")
        response = self._codec(find_signature_claim(request)[1] or _guess_service(request), request).fail(error, make_request_id())
        response.headers.append(("retry-after", str(RETRY_AFTER_S)))
        return response

    def handler_for(self, access_key: str) -> AsyncHttpHandler:
        """For a socket from inside an environment: the API alone, for requests signed with that key alone."""

        async def handle(request: HttpRequest) -> HttpResponse:
            return await self._handle_api(request, access_key)

        return handle

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """How large a request may be. Asked before it is verified, so a large one must at least name a key that exists."""
        if _URL_LABEL in request.header("host").lower():
            return BodyRule(BODY_BYTES)
        service, operation = self._guess(request)
        key = self._keys.lookup(find_signature_claim(request)[0])
        if key is None:
            return BodyRule(DOCUMENT_BYTES)
        if request.path == UPLOADS_PATH and key is self._keys.root:
            return BodyRule(STAGED_BYTES, spool=True, known=True)
        if (service, operation) in self._uploads:
            return BodyRule(UPLOAD_BYTES, spool=True, known=True)
        return BodyRule(SYNC_BYTES + SLACK_BYTES if operation in _PAYLOADS else DOCUMENT_BYTES, known=True)

    def refuse(self, request: HttpRequest, size: int | None, limit: int) -> HttpResponse:
        """The answer to a body beyond its `body_rule`."""
        if _URL_LABEL in request.header("host").lower():
            return refuse_large(request, size, limit)
        service, operation = self._guess(request)
        access_key, _ = find_signature_claim(request)
        try:
            if self._keys.lookup(access_key) is None:
                raise UnrecognizedClient() if access_key else MissingAuthenticationToken("Missing Authentication Token")
            if operation in _PAYLOADS:
                kind = request.header("x-amz-invocation-type") if operation == "Invoke" else "Event"
                check_size(max(size or 0, payload_limit("") + 1), kind or "RequestResponse")
            raise RequestEntityTooLarge(f"Request must be smaller than {limit} bytes for the {operation or 'requested'} operation")
        except ApiError as error:
            return self._codec(service, request).fail(error, make_request_id())

    # --- the API ------------------------------------------------------------------------------------------------------

    async def _handle_api(self, request: HttpRequest, only: str | None) -> HttpResponse:
        request_id = make_request_id()
        service = find_signature_claim(request)[1] or _guess_service(request)
        codec = self._codec(service, request)
        try:
            _check_target(request)
            principal = await self.verifier.verify(request, service, only=only)
            request.caller = principal.arn
            operations = self._operations.get(service)
            if operations is None:
                raise await self._absent(service)
            match = codec.match(request)
            request.operation = f"{service}:{match.operation}"
            if match.operation not in operations:
                raise NotImplementedOperation(f"Hanabi does not implement {service}:{match.operation}")
            call = Call(request_id, principal, self._region, _header_map(request), request, match.operation)
            if isinstance(request.body, Path):
                result = await self._handle_upload(service, codec, match, call)
            else:
                result = await self._run(service, codec, match, call, None)
            response = codec.respond(match.operation, result, request_id)
            response.headers += call.response_headers
            return response
        except ApiError as error:
            return codec.fail(error, request_id)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                log.error("request %s: %s %s failed: %s", request_id, request.method, request.path, error)
                return codec.fail(ServiceError("There is no room left on the disk of this Hanabi."), request_id)
            log.exception("request %s: %s %s failed", request_id, request.method, request.path)
            return codec.fail(ServiceError("An internal error occurred. Please try again."), request_id)

    async def _run(self, service: str, codec: Codec, match: Match, call: Call, document: Any) -> dict[str, Any]:
        params = codec.parse(match, call.request, document)
        codec.model.validate(match.operation, params)
        operation = self._operations[service][match.operation]
        target = operation.resolve(params)
        if type(target) is CoroutineType:
            target = await target
        if not call.principal.is_root or operation.owner_too:
            await self._check(call, operation, operation.permissions(target, params))
        return await operation.handler(call, params, target)

    async def _check(self, call: Call, operation: Operation[Any], permissions: Iterable[RequiredPermission]) -> None:
        """Raise `AccessDenied` unless the caller may do all that an operation touches."""
        allowed = operation.permissions is NOTHING
        for permission in permissions:
            if self._authorize is None:
                break
            await self._authorize(call.principal, call.request, permission)
            allowed = True
        if not allowed:
            raise AccessDenied(f"User: {call.principal.arn} is not authorized to perform: {call.operation}")

    async def _handle_upload(self, service: str, codec: Codec, match: Match, call: Call) -> dict[str, Any]:
        """An operation whose body lies in a file: its blobs become files too, which go when the handler is done."""
        assert isinstance(call.request.body, Path)
        document, blobs = await self.workers.read(call.request.body, self._uploads.get((service, match.operation), []))
        try:
            if any(blob.stat().st_size > ZIP_BYTES for blob in blobs):
                raise RequestEntityTooLarge(f"Zipped size must be smaller than {ZIP_BYTES} bytes")
            return await self._run(service, codec, match, call, document)
        finally:
            for blob in blobs:
                asyncio.get_running_loop().run_in_executor(None, blob.unlink, True)

    async def _absent(self, service: str) -> ApiError:
        if service in await asyncio.to_thread(known_services):
            return NotImplementedOperation(f"Hanabi does not implement the service {service}")
        return InvalidSignature("Credential should be scoped to correct service: 'lambda'. ")

    def _codec(self, service: str, request: HttpRequest) -> Codec:
        """The codec of a service; for one that is not here, whichever its client most likely understands."""
        codec = self._codecs.get(service)
        if codec is None:
            xml = service in _XML_SERVICES or "x-www-form" in request.header("content-type")
            looks = "logs" if request.header("x-amz-target") else "sts" if xml else "lambda"
            codec = self._codecs.get(looks) or next(iter(self._codecs.values()))
        return codec

    def _guess(self, request: HttpRequest) -> tuple[str, str]:
        """(service, operation) as far as the head of a request tells; the operation is "" where it does not."""
        service = find_signature_claim(request)[1] or _guess_service(request)
        codec = self._codecs.get(service)
        if codec is None or isinstance(codec, Query):
            return service, ""
        try:
            return service, codec.match(request).operation
        except ApiError:
            return service, ""

    # --- Hanabi's own -------------------------------------------------------------------------------------------------

    async def _handle_own(self, request: HttpRequest) -> HttpResponse:
        name, _, what = request.path.removeprefix(OWN_PREFIX).partition("/")
        try:
            _check_target(request)
            if what and name in self._granted:
                return await self._granted[name](request)
            if name == "health" and not what and request.method in ("GET", "HEAD"):
                self._check_host(request)
                status, word = (503, "draining") if self.draining else (200, "ok")
                body = {"status": word, "region": self._region, "key": fingerprint(self._keys.root.access_key)}
                return HttpResponse(status, [("content-type", "application/json")], write_json(body))
            principal: Principal = await self.verifier.verify(request, "hanabi")
            request.caller = principal.arn
            if not principal.is_root:
                raise AccessDenied(f"User: {principal.arn} is not authorized to use {OWN_PREFIX}{name}")
            handler = self._own.get(name)
            if handler is None or what:
                raise UnknownOperation(f"There is no {OWN_PREFIX}{name}")
            return await handler(request)
        except ApiError as error:
            headers = [("content-type", "application/json"), ("x-amzn-errortype", error.code)]
            return HttpResponse(error.status, headers, write_json({"message": error.message}))

    def _check_host(self, request: HttpRequest) -> None:
        """An unsigned request under a foreign name comes from a web page whose name was made to point here."""
        if not self._is_own_host(request):
            raise AccessDenied(f"The host name {_host_name(request)[:100]!r} is not one of Hanabi's")

    def _is_own_host(self, request: HttpRequest) -> bool:
        name = _host_name(request)
        if name in self._hosts or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _host_name(request: HttpRequest) -> str:
    host = request.header("host").lower()
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]


def _check_target(request: HttpRequest) -> None:
    if not is_canonical(request.path):
        raise ValidationError("The path of the request is not in canonical form")


def _checked(service: Service) -> dict[str, Operation[Any]]:
    """A service's operations. Raises `TypeError` for one that does not say what it touches."""
    for name, operation in service.operations.items():
        if not isinstance(operation, Operation) or not callable(operation.resolve) or not callable(operation.permissions):
            raise TypeError(f"{service.name}:{name} does not say what it touches")
    return dict(service.operations)


def _guess_service(request: HttpRequest) -> str:
    """For an unsigned request, which gets an error: in which service's words?"""
    if request.header("x-amz-target").startswith("Logs_"):
        return "logs"
    host = request.header("host").partition(".")[0]
    if host in ("lambda", "sts", "iam", "logs"):
        return host
    return "sts" if request.path == "/" and request.method == "POST" else "lambda"


def _header_map(request: HttpRequest) -> dict[str, str]:
    headers = dict(request.headers)
    return headers if len(headers) == len(request.headers) else join_repeated(request.headers)
