"""The Runtime API of one environment, for OS-only runtimes and the official runtime interface clients.

AWS Lambda developer guide, "Using the Lambda runtime API"; statuses and error bodies as the Runtime Interface Emulator's.
"""

import asyncio
import base64
import binascii
import json
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.tasks import settle
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.contracts.invocation import Invocation
from hanabi.errors import BodyError
from hanabi.http.handlers import in_task
from hanabi.http.limits import BodyRule, Limits, Timeouts
from hanabi.http.server import HttpServer
from hanabi.quotas import EXTENSIONS_MAX, RESPONSE_PAYLOAD_BYTES, STREAMED_RESPONSE_BYTES
from hanabi.runtime.extensions import Extensions
from hanabi.runtime.extensions_api import BODY_BYTES as EXTENSION_BODY_BYTES
from hanabi.runtime.extensions_api import PREFIX as EXTENSION_PREFIX
from hanabi.runtime.extensions_api import ExtensionsApi
from hanabi.runtime.session import TOO_LARGE, InvalidTransition, RuntimeSession, too_large
from hanabi.runtime.states import RuntimeState
from hanabi.runtime.telemetry.api import api_of, handle_subscription

PREFIX = "/2018-06-01/runtime/"
CREDENTIALS_PATH = "/2021-04-23/credentials"
# A runtime has one connection and says one thing at a time, an extension likewise: two for each, to reconnect. More are a nuisance.
LIMITS = Limits(
    body=lambda request: BodyRule(RESPONSE_PAYLOAD_BYTES),
    connections=2 * (EXTENSIONS_MAX + 1) + 14,
    pipelined=4,
    buffered_bytes=16 << 20,
    refusal_s=0.05,
)
REPEATS = 8  # of one invocation, to a runtime that asks again
TIMEOUTS = Timeouts(idle_s=24 * 3600)  # a handler may run for minutes, or be frozen for hours, between two requests of its runtime
ERROR_TYPE = "lambda-runtime-function-error-type"
ERROR_BODY = "lambda-runtime-function-error-body"  # a trailer: base64
RESPONSE_MODE = "lambda-runtime-function-response-mode"
STREAMING = "streaming"
TRUNCATED = "Runtime.TruncatedResponse"  # Runtime Interface Emulator, "fatalerror"
BAD_MODE = "Runtime.InvalidResponseModeHeader"
_ANSWER = re.compile(r"invocation/([0-9A-Za-z-]{1,64})/(response|error)")
_ERROR_TYPE = re.compile(r"(?:Runtime|Function|Extension)\.[A-Z][A-Za-z]{0,100}")


class RuntimeApi:
    """An `HttpHandler` for the sockets inside one environment. `bundled`: the bootstrap has its own channel, so every request is refused.

    `credentials` gives the answer to the SDKs' container credentials provider for a token; None: the token is wrong.
    """

    def __init__(
        self,
        session: RuntimeSession,
        *,
        bundled: bool,
        credentials: Callable[[str], dict[str, str] | None] = lambda token: None,
        extensions: Callable[[], Extensions | None] = lambda: None,
    ) -> None:
        self._session = session
        self._bundled = bundled
        self._credentials = credentials
        self._extensions = ExtensionsApi(extensions)
        self._awaiting_restore: asyncio.Future[None] | None = None
        self._waiting: asyncio.Future[Invocation] | None = None
        self._handed = False  # the current invocation has been handed to the runtime
        self._repeated = ("", 0)  # (request id, times) of the invocation given out more than once

    async def serve(self, sock: socket.socket, *, clock: Clock) -> HttpServer:
        """Serve on a listening socket from inside a sandbox; the server owns it from then on."""
        return await HttpServer(
            in_task(self.handle),
            clock=clock,
            limits=replace(LIMITS, body=self.body_rule),
            timeouts=TIMEOUTS,
            refuse=self.refuse_oversize,
            cancel_abandoned=True,
            name_peers=False,
        ).listen(sock)

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """Read an answer as a stream, if the caller of the invocation takes one."""
        if request.path.startswith(EXTENSION_PREFIX) or api_of(request.path) is not None:
            return BodyRule(EXTENSION_BODY_BYTES)
        answer = _ANSWER.fullmatch(request.path.removeprefix(PREFIX)) if self._session.takes_streams else None
        if answer and self._is_streamed(answer[2], request):
            return BodyRule(STREAMED_RESPONSE_BYTES, stream=True)
        return LIMITS.body(request)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        path = request.path.removeprefix(PREFIX)
        if request.path == CREDENTIALS_PATH and request.method == "GET":
            return self._give_credentials(request.header("authorization"))
        if path == request.path:
            if path.startswith(EXTENSION_PREFIX):
                return await self._extensions.handle(request)
            if (api := api_of(path)) is not None:
                return handle_subscription(request, api, self._extensions.current())
            return _error(404, "NotFound", "no such path")
        if self._bundled:
            return _error(403, "InvalidStateTransition", "The bundled runtime has a channel of its own")
        body = request.body if isinstance(request.body, bytes) else b""  # never a file: `LIMITS` does not spool; a stream is an answer
        try:
            if request.method == "GET" and path == "invocation/next":
                return await self._next()
            if request.method == "GET" and path == "restore/next":
                return await self._restore_next()
            if request.method == "POST" and path in ("init/error", "restore/error"):
                self._session.fail_init(body, _error_type(request))
                return _accepted()
            if request.method == "POST" and (answer := _ANSWER.fullmatch(path)):
                if not isinstance(request.body, bytes) or self._is_streamed(answer[2], request):
                    return await self._stream(answer[1], answer[2], request)
                return self._answer(answer[1], answer[2], request, body)
        except InvalidTransition as error:
            return _error(403, "InvalidStateTransition", str(error))
        return _error(404, "NotFound", "no such path")

    def refuse_oversize(self, request: HttpRequest, size: int | None, limit: int) -> HttpResponse:
        """Refuse a body over the limit: the runtime gets an error, and the invocation fails."""
        answer = _ANSWER.fullmatch(request.path.removeprefix(PREFIX))
        if answer and not self._bundled:
            if not self._is_current(answer[1]):
                return _error(400, "InvalidRequestID", "Invalid request ID")
            try:
                self._session.fail(too_large(limit), TOO_LARGE)
            except InvalidTransition as error:
                return _error(403, "InvalidStateTransition", str(error))
        return _error(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({limit} bytes).")

    async def _next(self) -> HttpResponse:
        session = self._session
        if session.state is RuntimeState.INVOKING and session.invocation is not None:
            return self._repeat(session.invocation)  # it has one already: the answer to its last question was lost
        waiting: asyncio.Future[Invocation] = asyncio.get_running_loop().create_future()
        if self._waiting is not None:
            self._waiting.cancel()  # a new `next` replaces an abandoned one
        self._waiting = waiting
        session.deliver = self._deliver
        session.undelivered = lambda exit: not self._handed
        session.next()
        invocation = await waiting  # cancelled when the connection has gone
        self._handed = True
        return _invocation(invocation)

    async def _restore_next(self) -> HttpResponse:
        """Wait for the restore: the snapshot is taken during this request, and a clone answers it."""
        session = self._session
        session.restore_next()
        if session.state is RuntimeState.AWAITING_RESTORE:
            if self._awaiting_restore is not None:
                self._awaiting_restore.cancel()
            self._awaiting_restore = awaiting_restore = asyncio.get_running_loop().create_future()
            session.send_restore = lambda: None if awaiting_restore.done() else awaiting_restore.set_result(None)
            await awaiting_restore
        return HttpResponse(200, [("content-type", "application/json")], b"{}")

    def _give_credentials(self, token: str) -> HttpResponse:
        found = self._credentials(token)
        if found is None:
            return _error(401, "Unauthorized", "Invalid authorization token")
        return HttpResponse(200, [("content-type", "application/json")], json.dumps(found).encode())

    def _repeat(self, invocation: Invocation) -> HttpResponse:
        id, times = self._repeated
        self._repeated = invocation.request_id, times + 1 if id == invocation.request_id else 1
        if self._repeated[1] > REPEATS:
            raise InvalidTransition("next while invoking")
        self._handed = True
        return _invocation(invocation)

    def _deliver(self, invocation: Invocation) -> None:
        """Answer the waiting `next`. A runtime that has hung up gets the invocation at its next request, or the deadline ends it."""
        waiting, self._waiting = self._waiting, None
        self._handed = False
        if waiting is not None and not waiting.done():
            waiting.set_result(invocation)

    def _is_current(self, request_id: str) -> bool:
        return self._session.invocation is not None and self._session.invocation.request_id == request_id

    def _answer(self, request_id: str, kind: str, request: HttpRequest, body: bytes) -> HttpResponse:
        if not self._is_current(request_id):
            return _error(400, "InvalidRequestID", "Invalid request ID")
        if kind == "error":
            self._session.fail(body, _error_type(request))
        elif request.header(RESPONSE_MODE) not in ("", STREAMING):
            self._session.fail(b"", BAD_MODE)
            return _error(400, "InvalidFunctionResponseMode", "Invalid function response mode")
        elif ERROR_TYPE in (trailers := dict(request.trailers)):  # it failed after it had begun to answer
            self._session.fail(_decoded(trailers.get(ERROR_BODY, "")), _known_error_type(trailers[ERROR_TYPE]))
        else:
            self._session.answer(body)
        return _accepted()

    def _is_streamed(self, kind: str, request: HttpRequest) -> bool:
        """Whether the answer comes in pieces, and its caller takes them. Go's client does not name the mode: what is chunked streams."""
        if not self._session.takes_streams or kind != "response":
            return False
        mode = request.header(RESPONSE_MODE)
        return mode == STREAMING or (not mode and "transfer-encoding" in request.fields)

    async def _stream(self, request_id: str, kind: str, request: HttpRequest) -> HttpResponse:
        """Hand on an answer's pieces as they arrive, no faster than they are read."""
        session = self._session
        if not self._is_current(request_id):
            return _error(400, "InvalidRequestID", "Invalid request ID")
        if kind != "response":  # an error is never so large
            return _error(413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({RESPONSE_PAYLOAD_BYTES} bytes).")
        session.begin_stream(request.header("content-type"))
        try:
            if isinstance(request.body, bytes):
                session.add_chunk(request.body)
            elif not isinstance(request.body, Path):
                async for piece in request.body:
                    session.add_chunk(piece)
                    await self._wait_for_room()
        except (BodyError, asyncio.CancelledError):
            with suppress(InvalidTransition):  # it was refused, or all is over
                session.fail(_truncated(), TRUNCATED)
            raise
        if ERROR_TYPE in (trailers := dict(request.trailers)):  # it failed after it had begun to answer
            session.fail(_decoded(trailers.get(ERROR_BODY, "")), _known_error_type(trailers[ERROR_TYPE]))
        else:
            session.end_stream()
        return _accepted()

    async def _wait_for_room(self) -> None:
        while self._session.is_full:
            room = asyncio.get_running_loop().create_future()
            self._session.on_room = partial(settle, room)
            await room  # the reader takes more, or is closed; else the deadline ends it all


def _truncated() -> bytes:
    return json.dumps({"errorMessage": "Response truncated", "errorType": TRUNCATED}, separators=(",", ":")).encode()


def _error_type(request: HttpRequest) -> str | None:
    return _known_error_type(request.header(ERROR_TYPE))


def _known_error_type(text: str) -> str | None:
    """The runtime's error type, if it has a form that Lambda accepts; else it is taken from the payload."""
    return text if _ERROR_TYPE.fullmatch(text) else None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _invocation(invocation: Invocation) -> HttpResponse:
    headers = [
        ("content-type", "application/json"),
        ("Lambda-Runtime-Aws-Request-Id", invocation.request_id),
        ("Lambda-Runtime-Deadline-Ms", str(invocation.deadline_ms)),
        ("Lambda-Runtime-Invoked-Function-Arn", invocation.route.invoked_arn),
    ]
    if invocation.trace:
        headers.append(("Lambda-Runtime-Trace-Id", _header_text(invocation.trace)))
    if tenant := invocation.route.version.tenant:
        headers.append(("Lambda-Runtime-Aws-Tenant-Id", _header_text(tenant)))
    if invocation.client_context:
        headers.append(("Lambda-Runtime-Client-Context", _header_text(invocation.client_context)))
    return HttpResponse(200, headers, invocation.payload)


def _header_text(text: str) -> str:
    """Encode caller text for a header: printable ASCII on one line. JSON keeps its meaning."""
    if text.isascii() and text.isprintable():
        return text
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return "".join(letter if letter.isascii() and letter.isprintable() else " " for letter in text)


def _accepted() -> HttpResponse:
    return HttpResponse(202, [("content-type", "application/json")], b'{"status":"OK"}\n')


def _error(status: int, kind: str, message: str) -> HttpResponse:
    body = json.dumps({"errorMessage": message, "errorType": kind}, separators=(",", ":")).encode()
    return HttpResponse(status, [("content-type", "application/json")], body)
