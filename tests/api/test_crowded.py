"""A JSON body of very many values is refused before it is read: reading it would hold up the loop."""

import json

import pytest

from hanabi.api.codec import read_json
from hanabi.errors import SerializationError

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
