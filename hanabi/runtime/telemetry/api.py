"""The Telemetry API and the Logs API as served to one environment, on the endpoint of the Runtime API."""

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.errors import SubscriptionRefused
from hanabi.runtime.extensions import ExtensionRefusal, Extensions
from hanabi.runtime.extensions_api import error_response, extension_name
from hanabi.runtime.telemetry.subscription import LOGS, TELEMETRY, read_subscription

PATHS = {"/2022-07-01/telemetry": TELEMETRY, "/2020-08-15/logs": LOGS}


def api_of(path: str) -> str | None:
    """Return which of the two APIs a path is of."""
    return PATHS.get(path.removesuffix("/"))


def handle_subscription(request: HttpRequest, api: str, extensions: Extensions | None) -> HttpResponse:
    if request.method != "PUT":
        return error_response(405, "MethodNotAllowed", "PUT a subscription")
    try:
        name = extension_name(extensions, request)
        body = request.body if isinstance(request.body, bytes) else b""
        subscription = read_subscription(body, api, name)
        if extensions is None or extensions.subscribe is None:
            raise SubscriptionRefused(api, "SubscriptionClosed", f"{api} API subscription is closed already", 403)
        new = extensions.subscribe(subscription)
    except ExtensionRefusal as refusal:
        return error_response(403, refusal.kind, str(refusal))
    except SubscriptionRefused as refusal:
        return error_response(refusal.status, refusal.kind, str(refusal))
    return HttpResponse(200, [("content-type", "application/json")], b'"OK"' if new else b'"AlreadySubscribed"')
