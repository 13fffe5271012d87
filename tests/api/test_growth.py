"""What users send costs work in proportion to its size: one attack for each place on the event loop that reads it."""

import json

from hanabi.api.evaluate import Request, Verdict, judge_identity
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
        condition = {"StringNotLike": {"k": [pattern, "${k}" * 20]}, "ForAllValues:ArnLike": {"many": [pattern] * 10}}
        statement = {"Effect": "Allow", "Action": "*", "Resource": [pattern] * 10 + ["*"], "Condition": condition}
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]}), "arn:" + "a" * n + "c"

    def judge(given: tuple[str, str]) -> Verdict:
        request = Request("lambda:Invoke", (given[1],), {"k": (given[1],), "many": (given[1],) * 5})
        return judge_identity([json.loads(given[0])], request)

    assert_linear(make, judge)
