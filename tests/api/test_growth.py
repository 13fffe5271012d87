"""What users send costs work in proportion to its size: one attack for each place on the event loop that reads it."""

import json

from hanabi.api.policies import allows
from hanabi.contracts import HttpRequest
from hanabi.gateway.cors import answer_preflight
from tests.growth import assert_linear


def preflight(origin: str) -> HttpRequest:
    headers = [("origin", origin), ("access-control-request-method", "GET")]
    return HttpRequest("OPTIONS", "/", "/", "", headers, b"", "127.0.0.1")


def test_cors_origins() -> None:
    cors = {"AllowOrigins": ["https://" + "*a" * 120 + "b"] * 100}
    assert_linear(lambda n: preflight("https://" + "a" * n + "c"), lambda request: answer_preflight(cors, request))


def test_policies() -> None:
    def make(n: int) -> tuple[str, str]:
        pattern = "arn:" + "*a" * 100 + "b"
        return json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": [pattern] * 10}]}), "arn:" + "a" * n + "c"

    assert_linear(make, lambda given: allows([json.loads(given[0])], "lambda:Invoke", given[1]))
