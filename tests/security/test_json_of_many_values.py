"""JSON of very many values is not read on the loop: bodies are refused, payloads checked by a worker, results of URLs passed on."""

import json

import pytest

from hanabi.base.clock import SystemClock
from hanabi.edge.large_json import JsonWorkers
from hanabi.edge.protocols.codec import read_json
from hanabi.errors import InvalidRequestContent, SerializationError
from hanabi.frontends.function_urls.response import MalformedResponse, make_response
from hanabi.services.lambda_.payload import check_payload

MB = 1 << 20


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"[]"] * (MB // 3)) + b"]",
        b"[" + b",".join([b"1"] * (MB // 2)) + b"]",
        b"[" + b",".join([b"[[[[[[[[]]]]]]]]"] * (MB // 17)) + b"]",
        b'{"a":"\\\\",' + b'"b":{},' * 60_000 + b'"c":1}',
        b"[" * 70_000 + b'"\\' * (MB // 4),  # a string that does not end
    ],
)
def test_it_is_refused(body: bytes) -> None:
    with pytest.raises(SerializationError, match="too many values"):
        read_json(body)


@pytest.mark.parametrize(
    "document",
    [
        {"logEvents": [{"timestamp": n, "message": 'said {"a": [1, 2, \\"3\\"]}'} for n in range(10_000)]},
        {"Code": {"ZipFile": "A" * MB}, "Description": '[{,"\\' * 100_000},
    ],
)
def test_what_an_operation_takes_is_read(document: object) -> None:
    assert read_json(json.dumps(document).encode()) == document


async def test_a_payload_of_very_many_values_goes_to_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    async def check(self: JsonWorkers, payload: bytes) -> str | None:
        checked.append(payload)
        return "no"

    monkeypatch.setattr(JsonWorkers, "check", check)

    with pytest.raises(InvalidRequestContent):
        await check_payload(b"[" * 100_000, "RequestResponse", JsonWorkers(SystemClock()))
    await check_payload(b"[" + b",".join([b"1"] * 1000) + b"]", "RequestResponse", JsonWorkers(SystemClock()))
    assert len(checked) == 1


def test_a_result_of_very_many_values_is_not_looked_into() -> None:
    rows = b"[" + b",".join([b'{ "a": 1 }'] * 30_000) + b"]"
    assert make_response(rows).body is rows
    assert make_response(b'{"rows": %s}' % rows).status == 200
    with pytest.raises(MalformedResponse, match="too many values"):
        make_response(b'{"statusCode": 200, "body": %s}' % rows)
    text = json.dumps({"statusCode": 201, "body": rows.decode()}).encode()  # a string is one value, whatever is in it
    assert (make_response(text).status, make_response(text).body) == (201, rows)
