"""The Extensions API as served to one environment, on the endpoint of the Runtime API.

AWS Lambda developer guide, "Using the Lambda Extensions API to create extensions".
"""

import asyncio
import json
import uuid
from collections.abc import Callable

from hanabi.base.tasks import settle
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.runtime.extensions import ExtensionRefusal, Extensions

PREFIX = "/2020-01-01/extension/"
BODY_BYTES = 64 * 1024  # of a request: a registration is one short line of JSON, an error report is not read
NAME, IDENTIFIER, ERROR_TYPE = "lambda-extension-name", "lambda-extension-identifier", "lambda-extension-function-error-type"
EVENT_IDENTIFIER, FEATURES = "lambda-extension-event-identifier", "lambda-extension-accept-feature"
_JSON = ("content-type", "application/json")
_OPERATIONS = frozenset({("POST", "register"), ("GET", "event/next"), ("POST", "init/error"), ("POST", "exit/error")})


class ExtensionsApi:
    """The API. `extensions` gives the environment's; None: it has no function yet, so nobody may register."""

    def __init__(self, extensions: Callable[[], Extensions | None]) -> None:
        self._extensions = extensions

    def current(self) -> Extensions | None:
        return self._extensions()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answer a request below `PREFIX`."""
        operation = request.path.removeprefix(PREFIX)
        if (request.method, operation) not in _OPERATIONS:
            return error_response(404, "NotFound", "no such path")
        extensions = self._extensions()
        try:
            if extensions is None:
                raise ExtensionRefusal("Extension.RegistrationClosed", "Extension registration closed already")
            if operation == "register":
                body = request.body if isinstance(request.body, bytes) else b""
                extension, told = extensions.register(request.header(NAME), body, request.header(FEATURES))
                return HttpResponse(200, [_JSON, (IDENTIFIER, extension.identifier)], _json(told))
            identifier = _identifier(request)
            if operation == "event/next":
                return await _next(extensions, identifier)
            fail = extensions.fail_init if operation == "init/error" else extensions.fail_exit
            fail(identifier, request.header(ERROR_TYPE))
            return HttpResponse(202, [_JSON], b'{"status":"OK"}\n')
        except ExtensionRefusal as refusal:
            return error_response(403, refusal.kind, str(refusal))


def extension_name(extensions: Extensions | None, request: HttpRequest) -> str:
    """Return who sends a request of another API that only extensions may use. Raises `ExtensionRefusal`."""
    identifier = _identifier(request)
    extension = None if extensions is None else extensions.find(identifier)
    if extension is None:
        raise ExtensionRefusal("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
    return extension.name


async def _next(extensions: Extensions, identifier: str) -> HttpResponse:
    """Wait for an extension's next event. Cancelled when its connection has gone."""
    waiting: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()

    def deliver(event: dict[str, object]) -> bool:
        if waiting.done():
            return False
        settle(waiting, event)
        return True

    extension = extensions.next(identifier, deliver)
    try:
        event = await waiting
    except asyncio.CancelledError:
        extensions.abandon(extension, deliver)
        raise
    return HttpResponse(200, [_JSON, (EVENT_IDENTIFIER, str(uuid.uuid4()))], _json(event))


def _identifier(request: HttpRequest) -> str:
    text = request.header(IDENTIFIER)
    if not text:
        raise ExtensionRefusal("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ExtensionRefusal("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier") from None


def error_response(status: int, kind: str, message: str) -> HttpResponse:
    return HttpResponse(status, [_JSON], _json({"errorMessage": message, "errorType": kind}))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
