"""An API call from request to response: verified, matched, read, validated, resolved, authorised, handled, answered."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import CoroutineType
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.auth.sigv4 import Verifier, find_signature_claim
from hanabi.edge.failures import to_api_error
from hanabi.edge.large_json import JsonWorkers
from hanabi.edge.protocols.codec import Codec, Match
from hanabi.edge.protocols.model import known_services
from hanabi.edge.request_ids import make_request_id
from hanabi.edge.served_services import ServedService, ServedServices
from hanabi.edge.service import DOCUMENT_BYTES, NOTHING, Call, Operation, RequiredPermission, Service
from hanabi.errors import (
    AccessDenied,
    ApiError,
    InvalidSignature,
    MissingAuthenticationToken,
    NotImplementedOperation,
    RequestEntityTooLarge,
    ServiceUnavailable,
    UnrecognizedClient,
    ValidationError,
)
from hanabi.http.headers import join_repeated
from hanabi.http.limits import BodyRule
from hanabi.http.target import is_canonical

RETRY_AFTER_S = 5  # when the server is stopping
Authorize = Callable[[Principal, HttpRequest, RequiredPermission], Awaitable[None]]


class Api:
    """All services. `authorize` raises `AccessDenied` for what a caller may not; without it, only the owner may do anything."""

    def __init__(
        self,
        services: Sequence[Service],
        keys: KeyRing,
        clock: Clock,
        region: str,
        *,
        authorize: Authorize | None = None,
        spool: Path | None = None,
    ) -> None:
        self.services = ServedServices(services)
        self.verifier = Verifier(keys, clock, region, global_services=self.services.global_names)
        self.workers = JsonWorkers(clock, spool)
        self._keys = keys
        self._region = region
        self._authorize = authorize

    async def handle(self, request: HttpRequest, only: str | None = None) -> HttpResponse:
        """An `AsyncHttpHandler`. With `only`, for requests signed with that access key alone."""
        request_id = make_request_id()
        name = self.services.name_of(request)
        codec = self.services.codec(name, request)
        try:
            if not is_canonical(request.path):
                raise ValidationError("The path of the request is not in canonical form")
            principal = await self.verifier.verify(request, name, only=only)
            request.caller = principal.arn
            service = self.services.by_signing_name.get(name)
            if service is None:
                raise await self._absent(name)
            match = codec.match(request)
            request.operation = f"{service.name}:{match.operation}"
            operation = service.operations.get(match.operation)
            if operation is None:
                raise NotImplementedOperation(f"Hanabi does not implement {request.operation}")
            call = Call(request_id, principal, self._region, _header_map(request), request, match.operation)
            if isinstance(request.body, Path):
                result = await self._run_upload(service, operation, match, call)
            else:
                result = await self._run(codec, operation, match, call, None)
            response = codec.respond(match.operation, result, request_id)
            response.headers += call.response_headers
            return response
        except Exception as error:
            return codec.fail(to_api_error(error, request, request_id), request_id)

    async def _run(self, codec: Codec, operation: Operation[Any], match: Match, call: Call, document: Any) -> dict[str, Any]:
        params = codec.parse(match, call.request, document)
        codec.model.validate(match.operation, params)
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

    async def _run_upload(self, service: ServedService, operation: Operation[Any], match: Match, call: Call) -> dict[str, Any]:
        """An operation whose body lies in a file: its blobs become files too, which go when the handler is done."""
        assert isinstance(call.request.body, Path)
        document, blobs = await self.workers.read(call.request.body, service.blobs.get(match.operation, []))
        try:
            if operation.body.check_blob is not None:
                for blob in blobs:
                    operation.body.check_blob(blob.stat().st_size)
            return await self._run(service.codec, operation, match, call, document)
        finally:
            for blob in blobs:
                asyncio.get_running_loop().run_in_executor(None, blob.unlink, True)

    # --- what is not handled ------------------------------------------------------------------------------------------

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """How large a request may be. Asked before it is verified, so a large one must at least name a key that exists."""
        if self._keys.lookup(find_signature_claim(request)[0]) is None:
            return BodyRule(DOCUMENT_BYTES)
        _, operation = self.services.find_operation(request)
        if operation is None:
            return BodyRule(DOCUMENT_BYTES, known=True)
        return BodyRule(operation.body.limit_bytes, spool=operation.body.spool, known=True)

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        """The answer to a body beyond its `body_rule`."""
        return self._codec_of(request).fail(self._refusal(request, size, limit_bytes), make_request_id())

    def _refusal(self, request: HttpRequest, size: int | None, limit_bytes: int) -> ApiError:
        access_key, _ = find_signature_claim(request)
        if self._keys.lookup(access_key) is None:
            return UnrecognizedClient() if access_key else MissingAuthenticationToken("Missing Authentication Token")
        name, operation = self.services.find_operation(request)
        if operation is not None and operation.body.refuse is not None:
            return operation.body.refuse(request, size)
        return RequestEntityTooLarge(f"Request must be smaller than {limit_bytes} bytes for the {name or 'requested'} operation")

    def unavailable(self, request: HttpRequest) -> HttpResponse:
        """The answer while the server is stopping."""
        error = ServiceUnavailable("Hanabi is shutting down. Please try again.")
        response = self._codec_of(request).fail(error, make_request_id())
        response.headers.append(("retry-after", str(RETRY_AFTER_S)))
        return response

    async def _absent(self, service: str) -> ApiError:
        if service in await asyncio.to_thread(known_services):
            return NotImplementedOperation(f"Hanabi does not implement the service {service}")
        return InvalidSignature(f"Credential should be scoped to correct service: '{self.services.first}'. ")

    def _codec_of(self, request: HttpRequest) -> Codec:
        return self.services.codec(self.services.name_of(request), request)


def _header_map(request: HttpRequest) -> dict[str, str]:
    headers = dict(request.headers)
    return headers if len(headers) == len(request.headers) else join_repeated(request.headers)
