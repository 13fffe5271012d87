"""Function URLs: plain HTTP to a function, each under its own host name."""

import asyncio
import inspect
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.functions import Catalog
from hanabi.contracts.http import AsyncHttpHandler, HttpRequest, HttpResponse
from hanabi.contracts.invocation import Invocation, Invoker
from hanabi.edge.traces import begin_trace, root_of
from hanabi.errors import ApiError, HanabiError, RequestTooLarge, ResourceNotFound, ShuttingDown, TooManyRequests
from hanabi.frontends.function_urls.cors import add_headers, answer_preflight
from hanabi.frontends.function_urls.event import make_event
from hanabi.frontends.function_urls.response import JSON, MalformedResponse, make_response
from hanabi.frontends.function_urls.streamed_response import make_streamed_response
from hanabi.http.limits import BodyRule
from hanabi.quotas import INVOKE_PAYLOAD_BYTES

log = logging.getLogger(__name__)

LOG_INTERVAL_S = 10.0
RETRY_AFTER_S = 5  # when the server is stopping
BODY_BYTES = INVOKE_PAYLOAD_BYTES + 256 * 1024  # beyond the limit whose error is worded here

LABEL = ".lambda-url."  # in the host names, whatever is before and after it

_HOST = re.compile(r"(?P<host>(?P<id>[a-z0-9]{1,63})\.lambda-url\.[a-z0-9.-]{1,200})(?::\d{1,5})?", re.ASCII)


class UrlConfig(Protocol):
    """The configuration of a URL. `cors` has the members of Lambda's `Cors` shape."""

    @property
    def function(self) -> str: ...  # its name in the catalog
    @property
    def qualifier(self) -> str | None: ...
    @property
    def auth_type(self) -> str: ...  # "NONE" | "AWS_IAM"
    @property
    def cors(self) -> Mapping[str, Any] | None: ...
    @property
    def streams(self) -> bool: ...  # its InvokeMode is RESPONSE_STREAM
    @property
    def arn(self) -> str: ...  # of the function, with the qualifier
    @property
    def policy(self) -> Sequence[Mapping[str, Any]]: ...  # the statements of its resource policy


class UrlDirectory(Protocol):
    def lookup(self, url_id: str) -> UrlConfig | None: ...


Authenticate = Callable[[HttpRequest, UrlConfig], Awaitable[Principal | None] | Principal | None]
FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)


class FunctionUrls:
    """The `Frontend` of function URLs: request -> event -> invocation -> response.

    `authenticate` returns who signed a request, None where the URL needs no signature. Raises `ApiError` for one without access.
    """

    def __init__(
        self, urls: UrlDirectory, catalog: Catalog, invoker: Invoker, authenticate: Authenticate, clock: Clock, *, scheme: str = "http"
    ) -> None:
        self._urls = urls
        self._catalog = catalog
        self._invoker = invoker
        self._authenticate = authenticate
        self._clock = clock
        self._scheme = scheme
        self.draining = False  # nothing new is taken
        self._log_from_s = 0.0  # the next failure is told then
        self._unlogged = 0
        self._said: dict[str, float] = {}  # function -> when its last malformed result was logged

    def serves(self, host: str) -> bool:
        """Whether a host looks like a function URL's, existing or not: such requests never reach the API."""
        return LABEL in host

    def body_rule(self, request: HttpRequest) -> BodyRule:
        return BodyRule(BODY_BYTES)

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        return refuse_large(request, size, limit_bytes)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Handle a request whose host name names the URL. Never raises for a mistake of a caller or function."""
        host = _HOST.fullmatch(request.header("host").lower())
        return await self._handle(request, host["id"] if host else "", host["host"] if host else "")

    def handler_for(self, url_id: str) -> AsyncHttpHandler:
        """Make the handler of one URL's own socket, which ignores the host name."""

        async def handle(request: HttpRequest) -> HttpResponse:
            name = request.header("host").partition(":")[0][:253].lower()
            return await self._handle(request, url_id, name)

        return handle

    async def _handle(self, request: HttpRequest, url_id: str, host: str) -> HttpResponse:
        request_id = str(uuid.uuid4())
        request.operation, request.caller = "lambda:InvokeFunctionUrl", url_id
        if self.draining:
            return _unavailable(request_id)
        config = self._urls.lookup(url_id)
        if config is None:
            return _answer(403, {"Message": None}, "AccessDeniedException", request_id)
        response = answer_preflight(config.cors, request) if config.cors else None
        if response is None:
            try:
                response = await self._invoke(request, config, url_id, host, request_id)
            except HanabiError as error:
                response = _refusal(error, request_id)
                if response.status == 500:
                    self._log_error(error, request_id)
            if config.cors:
                add_headers(config.cors, request, response)
        return response

    def _log_error(self, error: HanabiError, request_id: str) -> None:
        """Log an internal error, which callers are not shown. At most one line a second, so that callers cannot fill the log."""
        now_s = self._clock.monotonic()
        if now_s < self._log_from_s:
            self._unlogged += 1
            return
        others = f" (and {self._unlogged} others since the last line)" if self._unlogged else ""
        self._log_from_s, self._unlogged = now_s + 1, 0
        log.error("a function URL's request %s failed: %s%s", request_id, error, others)

    async def _invoke(self, request: HttpRequest, config: UrlConfig, url_id: str, host: str, request_id: str) -> HttpResponse:
        try:
            answer = self._authenticate(request, config)
            principal = await answer if inspect.isawaitable(answer) else answer
        except ApiError:
            return _answer(403, {"Message": FORBIDDEN}, "AccessDeniedException", request_id)
        try:
            route = self._catalog.resolve(config.function, config.qualifier)
        except ResourceNotFound:  # its alias was deleted
            return _answer(403, {"Message": FORBIDDEN}, "AccessDeniedException", request_id)
        given = request.header("x-amzn-trace-id")
        trace = begin_trace(given, self._clock.time(), route.version.arn, route.version.traced)
        assert isinstance(request.body, bytes | Path)
        body = await _read_body(request.body)
        event = make_event(
            request,
            body,
            url_id=url_id,
            host=host,
            request_id=request_id,
            trace=given if root_of(trace) in given else root_of(trace),
            now=self._clock.time(),
            scheme=self._scheme,
            principal=principal,
        )
        if len(event) > INVOKE_PAYLOAD_BYTES:
            raise _too_large()
        invocation = Invocation(request_id=request_id, route=route, payload=event, trace=trace, source="url")
        try:
            response = await self._run(invocation, streams=config.streams) or _broken()
        except MalformedResponse as error:
            self._log_reason(config.function, request_id, str(error))
            response = _broken()
        response.headers += [("x-amzn-requestid", request_id), ("x-amzn-trace-id", trace)]
        return response

    async def _run(self, invocation: Invocation, *, streams: bool) -> HttpResponse | None:
        """The response of the function; None when it failed. Raises `MalformedResponse`."""
        if streams:
            return await make_streamed_response(await self._invoker.stream(invocation))
        result = await self._invoker.invoke(invocation)
        return None if result.function_error is not None else make_response(result.payload)

    def _log_reason(self, function: str, request_id: str, reason: str) -> None:
        """Log why a successful invocation became a 502, which nothing else shows. Rate-limited, so that it cannot fill a disk."""
        now = self._clock.monotonic()
        if now - self._said.get(function, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._said = {name: at for name, at in self._said.items() if now - at < LOG_INTERVAL_S} | {function: now}
            log.info("the URL of %s answers request %s with 502: what it returned makes no response: %.200s", function, request_id, reason)


def _broken() -> HttpResponse:
    return HttpResponse(502, [("content-type", JSON)], b"Internal Server Error")


def refuse_large(request: HttpRequest, size: int | None, limit: int) -> HttpResponse:
    """The answer to a body beyond `BODY_BYTES`."""
    return _refusal(_too_large(), str(uuid.uuid4()))


async def _read_body(body: bytes | Path) -> bytes:
    if isinstance(body, bytes):
        if len(body) > INVOKE_PAYLOAD_BYTES:
            raise _too_large()
        return body
    if (await asyncio.to_thread(body.stat)).st_size > INVOKE_PAYLOAD_BYTES:
        raise _too_large()
    return await asyncio.to_thread(body.read_bytes)


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"Request must be smaller than {INVOKE_PAYLOAD_BYTES} bytes for the InvokeFunction operation")


def _refusal(error: HanabiError, request_id: str) -> HttpResponse:
    if isinstance(error, TooManyRequests):
        body = {"Reason": error.reason, "Type": error.type, "message": error.message}
        return _answer(error.status, body, error.code, request_id)
    if isinstance(error, ResourceNotFound):  # the function of a URL that is being deleted: the same as no URL
        return _answer(403, {"Message": None}, "AccessDeniedException", request_id)
    if isinstance(error, ShuttingDown):
        return _unavailable(request_id)
    if isinstance(error, ApiError) and error.status < 500:
        return _answer(error.status, {"Message": error.message}, error.code, request_id)
    return _answer(500, {"Message": None}, "ServiceException", request_id)


def _unavailable(request_id: str) -> HttpResponse:
    response = _answer(503, {"Message": "Service Unavailable"}, "ServiceUnavailable", request_id)
    response.headers.append(("retry-after", str(RETRY_AFTER_S)))
    return response


def _answer(status: int, body: Mapping[str, Any], error_type: str, request_id: str) -> HttpResponse:
    headers = [("content-type", JSON), ("x-amzn-errortype", error_type), ("x-amzn-requestid", request_id)]
    return HttpResponse(status, headers, json.dumps(body, separators=(",", ":")).encode())
