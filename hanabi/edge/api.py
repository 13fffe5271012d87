"""An API call from request to response: verified, matched, read, validated, resolved, authorised, handled, answered."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from types import CoroutineType
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.tasks import Tasks
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import NO_ANSWER, Answer, HttpRequest, HttpResponse
from hanabi.contracts.invocation import Cancellable
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.sigv4 import HASH_INLINE_BYTES, Verifier, find_signature_claim
from hanabi.edge.failures import to_api_error
from hanabi.edge.large_json import JsonWorkers
from hanabi.edge.protocols.codec import Codec, Match
from hanabi.edge.protocols.model import known_services
from hanabi.edge.request_ids import make_request_id
from hanabi.edge.served_services import PlacedOperations, ServedService, ServedServices
from hanabi.edge.service import DOCUMENT_BYTES, NOTHING, Call, Operation, Params, RequiredPermission, Service
from hanabi.errors import (
    AccessDenied,
    ApiError,
    ForeignAccount,
    InvalidSignature,
    MissingAuthenticationToken,
    NotImplementedOperation,
    RequestEntityTooLarge,
    ServiceUnavailable,
    UnrecognizedClient,
    ValidationError,
)
from hanabi.http.limits import BodyRule
from hanabi.http.target import is_canonical

RETRY_AFTER_S = 5  # when the server is stopping
Authorize = Callable[[Principal, HttpRequest, RequiredPermission], Awaitable[None]]


class Api:
    """The API of all services. `authorize` raises `AccessDenied` for a call that is not allowed; without it only the owner may call."""

    def __init__(
        self,
        services: Sequence[Service],
        verifier: Verifier,
        clock: Clock,
        *,
        authorize: Authorize | None = None,
        spool: Path | None = None,
    ) -> None:
        self.services = ServedServices(services)
        self._all = tuple(services)
        self.verifier = verifier
        self.workers = JsonWorkers(clock, spool)
        self.tasks = Tasks("API")
        self._authorize = authorize

    def handle(self, request: HttpRequest, answer: Answer, only: str | None = None) -> None:
        """Handle a request, as an `HttpHandler`. With `only`, accept that access key alone."""
        name = self.services.name_of(request)
        progress = _Progress(self, request, answer, self.services.codec(name, request), make_request_id())
        try:
            if not is_canonical(request.path):
                raise ValidationError("The path of the request is not in canonical form")
            body, service = request.body, self.services.by_signing_name.get(name)
            if service is not None and type(body) is bytes and len(body) <= HASH_INLINE_BYTES:
                principal = self.verifier.verify_small(request, name, only)
                placed = service.placed.get((principal.account, request.region))
                if placed is None:
                    placed = service.find(AccountRegion(principal.account, request.region))
                if placed is not None:
                    self._begin(progress, principal, service, placed)
                else:
                    progress.go_on(self._open_and_run(progress, principal, service))
                return
        except Exception as error:
            progress.end(self._explain(progress) or error if type(error) is MissingAuthenticationToken else error)
            return
        progress.go_on(self._verify_and_run(progress, name, only))

    def _explain(self, progress: "_Progress") -> ApiError | None:
        """Return the error for an unsigned request whose operation AWS takes unsigned: AssumeRoleWithWebIdentity and the like."""
        for name, served in self.services.by_signing_name.items():
            if served.codec.model.protocol == progress.codec.model.protocol:
                try:
                    operation = served.codec.match(progress.request).operation
                except ApiError:
                    continue
                if served.codec.model.operation(operation).auth_type == "none":
                    return NotImplementedOperation(f"Hanabi does not implement {name}:{operation}")
        return None

    def _begin(self, progress: "_Progress", principal: Principal, service: ServedService, placed: PlacedOperations) -> None:
        """Begin a verified call of a known service. No task is made when the owner calls and the operation needs none."""
        call, operation, match = self._match(progress, principal, service, placed)
        if operation.begin is None or not principal.is_root or operation.owner_too:
            progress.go_on(self._run(call, progress.codec, operation, match, None))
            return
        params = progress.codec.read(match, progress.request, None)
        try:
            target = operation.resolve(params)
        except ForeignAccount as error:
            progress.go_on(self._run_across(call, operation, params, error))
            return
        if type(target) is CoroutineType:
            progress.go_on(self._run_resolved(call, operation, params, target))
            return
        begun = operation.begin(call, params, target, progress.end)
        if begun is None:
            progress.go_on(operation.handler(call, params, target))
        elif not progress.ended:
            progress.running = begun
            progress.request.cancel = progress.cancel

    def _match(
        self, progress: "_Progress", principal: Principal, service: ServedService, placed: PlacedOperations
    ) -> tuple[Call, Operation[Any], Match]:
        request = progress.request
        request.caller = principal.arn
        match = progress.codec.match(request)
        request.operation = f"{service.name}:{match.operation}"
        operation = placed.operations.get(match.operation)
        if operation is None:
            raise NotImplementedOperation(f"Hanabi does not implement {request.operation}")
        progress.call = call = Call(progress.request_id, principal, placed.account_region, request, match.operation)
        return call, operation, match

    async def _open_and_run(self, progress: "_Progress", principal: Principal, service: ServedService) -> Params:
        """Run a verified call, the first one in its account and region."""
        placed = await service.open(AccountRegion(principal.account, progress.request.region))
        call, operation, match = self._match(progress, principal, service, placed)
        return await self._run(call, progress.codec, operation, match, None)

    async def _verify_and_run(self, progress: "_Progress", name: str, only: str | None) -> Params:
        """Verify and run a request whose body is hashed or read off the loop: a large one, or one in a file."""
        principal = await self.verifier.verify(progress.request, name, only=only)
        if name not in self.services.by_signing_name:
            progress.request.caller = principal.arn
            raise await self._absent(name)
        service = self.services.by_signing_name[name]
        placed = await service.open(AccountRegion(principal.account, progress.request.region))
        call, operation, match = self._match(progress, principal, service, placed)
        if isinstance(progress.request.body, Path):
            return await self._run_upload(service, operation, match, call)
        return await self._run(call, progress.codec, operation, match, None)

    async def _run(self, call: Call, codec: Codec, operation: Operation[Any], match: Match, document: Any) -> Params:
        params = codec.read(match, call.request, document)
        if operation.complete is not None:
            operation.complete(call, params)
        try:
            target = operation.resolve(params)
        except ForeignAccount as error:
            return await self._run_across(call, operation, params, error)
        return await self._run_resolved(call, operation, params, target)

    async def _run_resolved(self, call: Call, operation: Operation[Any], params: Params, target: Any) -> Params:
        if type(target) is CoroutineType:
            target = await target
        if not call.principal.is_root or operation.owner_too:
            await self._check(call, operation, operation.permissions(target, params))
        return await operation.handler(call, params, target)

    async def _run_across(self, call: Call, operation: Operation[Any], params: Params, found: ForeignAccount) -> Params:
        """Run a call about something of another account on this node, if that account's policy and the caller's own allow it.

        Without such a policy the answer is the same whether that exists or not.
        """
        service = self.services.by_signing_name[self.services.name_of(call.request)]
        place = AccountRegion(found.account, call.region)
        if not service.service.has(place) or self._authorize is None:
            why = f"because no resource-based policy allows the {operation.action} action"
            raise AccessDenied(
                f"User: {call.principal.arn} is not authorized to perform: {operation.action} on resource: {found.arn} {why}"
            )
        placed = await service.open(place)
        call.account_region, operation = placed.account_region, placed.operations[call.operation]
        target = operation.resolve(params)
        if type(target) is CoroutineType:
            target = await target
        await self._check(call, operation, operation.permissions(target, params))
        return await operation.handler(call, params, target)

    async def _check(self, call: Call, operation: Operation[Any], permissions: Iterable[RequiredPermission]) -> None:
        """Raise `AccessDenied` unless the caller has every permission that the operation needs."""
        allowed = operation.permissions is NOTHING
        for permission in permissions:
            if self._authorize is None:
                break
            await self._authorize(call.principal, call.request, permission)
            allowed = True
        if not allowed:
            raise AccessDenied(f"User: {call.principal.arn} is not authorized to perform: {call.operation}")

    async def _run_upload(self, service: ServedService, operation: Operation[Any], match: Match, call: Call) -> Params:
        """Run an operation whose body is in a file. Its blobs become files too, deleted when the handler is done."""
        assert isinstance(call.request.body, Path)
        document, blobs = await self.workers.read(call.request.body, service.blobs.get(match.operation, []))
        try:
            if operation.body.check_blob is not None:
                for size in await asyncio.to_thread(lambda: [blob.stat().st_size for blob in blobs]):
                    operation.body.check_blob(size)
            return await self._run(call, service.codec, operation, match, document)
        finally:
            for blob in blobs:
                asyncio.get_running_loop().run_in_executor(None, blob.unlink, True)

    def drain(self) -> None:
        for service in self._all:
            service.drain()

    # --- what is not handled ------------------------------------------------------------------------------------------

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """Return how large a request may be. This is before verification, so a large one must at least name a key that exists."""
        if not self.verifier.knows(find_signature_claim(request)[0]):
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
        if not self.verifier.knows(access_key):
            return UnrecognizedClient() if access_key else MissingAuthenticationToken("Missing Authentication Token")
        name, operation = self.services.find_operation(request)
        if operation is not None and operation.body.refuse is not None:
            return operation.body.refuse(request, size)
        if name and operation is None:
            return NotImplementedOperation(f"Hanabi does not implement {self.services.name_of(request)}:{name}")
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


class _Progress:
    """One request, from its arrival to its answer."""

    __slots__ = ("_answer", "_api", "call", "codec", "ended", "request", "request_id", "running")

    def __init__(self, api: Api, request: HttpRequest, answer: Answer, codec: Codec, request_id: str) -> None:
        self._api = api
        self._answer = answer
        self.request = request
        self.codec = codec
        self.request_id = request_id
        self.call: Call | None = None  # once it is known who calls what
        self.running: Cancellable | None = None
        self.ended = False

    def go_on(self, work: Coroutine[Any, Any, Params]) -> None:
        """Go on in a task, which the server may cancel."""
        self.running = task = self._api.tasks.own(work, "API call")
        self.request.cancel = task.cancel
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: "asyncio.Task[Params]") -> None:
        if task.cancelled():
            self.ended = True
            self._answer(NO_ANSWER)
            return
        error = task.exception()
        self.end(task.result() if error is None else error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def cancel(self) -> None:
        """Cancel a call that runs without a task: its client has gone."""
        if not self.ended and self.running is not None:
            self.ended = True
            self.running.cancel()
            self._answer(NO_ANSWER)

    def end(self, result: Params | Exception) -> None:
        """Answer with a result or an error."""
        self.ended = True
        self.request.cancel = None
        if not isinstance(result, Exception):
            assert self.call is not None
            try:
                response = self.codec.respond(self.call.operation, result, self.request_id)
                response.headers += self.call.response_headers
            except Exception as error:
                self._close_streams(result)
                result = error
        if isinstance(result, Exception):
            response = self.codec.fail(to_api_error(result, self.request, self.request_id), self.request_id)
        self._answer(response)

    def _close_streams(self, result: Params) -> None:
        """Close the streams of a result that is not sent."""
        for value in result.values():
            if not isinstance(value, bytes) and hasattr(value, "aclose"):
                self._api.tasks.spawn(value.aclose(), "close a result's stream")
