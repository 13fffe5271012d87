"""The two APIs' answers."""

import json

from hanabi.contracts.http import HttpRequest
from hanabi.errors import SubscriptionRefused
from hanabi.runtime.extensions import Extensions
from hanabi.runtime.telemetry.api import api_of, handle_subscription
from hanabi.runtime.telemetry.subscription import LOGS, TELEMETRY, Subscription
from tests.unit.runtime.host import make_version
from tests.unit.runtime.telemetry.test_subscription import GOOD

PATH = "/2022-07-01/telemetry"


def put(extensions: Extensions | None, identifier: str, method: str = "PUT") -> tuple[int, str]:
    headers = [("lambda-extension-identifier", identifier)] if identifier else []
    request = HttpRequest(method=method, target=PATH, path=PATH, query="", headers=headers, body=json.dumps(GOOD).encode())
    answer = handle_subscription(request, TELEMETRY, extensions)
    assert isinstance(answer.body, bytes)
    said = json.loads(answer.body)
    return answer.status, said if isinstance(said, str) else said["errorType"]


def test_paths() -> None:
    assert [api_of(path) for path in (PATH, PATH + "/", "/2020-08-15/logs", "/2020-08-15/logs/x")] == [TELEMETRY, TELEMETRY, LOGS, None]


def test_answers() -> None:
    extensions = Extensions(make_version())
    extension, _ = extensions.register("tool", b'{"events": ["INVOKE"]}')
    me = extension.identifier
    taken: list[Subscription] = []

    def subscribe(subscription: Subscription) -> bool:
        if taken:
            return False
        taken.append(subscription)
        return True

    assert put(extensions, me) == (403, "Telemetry.SubscriptionClosed")
    extensions.subscribe = subscribe
    assert put(extensions, me, "POST") == (405, "MethodNotAllowed")
    assert put(extensions, "") == (403, "Extension.MissingExtensionIdentifier")
    assert put(extensions, "6f2c7d1c-0000-4000-8000-000000000000") == (403, "Extension.UnknownExtensionIdentifier")
    assert put(None, me) == (403, "Extension.UnknownExtensionIdentifier")
    assert put(extensions, me) == (200, "OK")
    assert put(extensions, me) == (200, "AlreadySubscribed")
    assert taken[0].extension == "tool"

    def refuse(subscription: Subscription) -> bool:
        raise SubscriptionRefused(TELEMETRY, "AccessDenied", "no", 403)

    extensions.subscribe = refuse
    assert put(extensions, me) == (403, "Telemetry.AccessDenied")
