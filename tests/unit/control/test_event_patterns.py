"""Event patterns: what is well formed."""

import json
from typing import Any

import pytest

from hanabi.control.event_patterns import check_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"eventName": ["INSERT", "MODIFY"], "body": {"a": {"b": [1, None, True, ""]}}},
        {"a": [{"prefix": "x"}, {"suffix": {"equals-ignore-case": ".PNG"}}, {"equals-ignore-case": "x"}, {"wildcard": "a*b"}]},
        {"a": [{"anything-but": "x"}], "b": [{"anything-but": [1, 2]}], "c": [{"anything-but": {"prefix": ["x", "y"]}}]},
        {"a": [{"numeric": [">", 0, "<=", 1.5]}, {"numeric": ["=", 3]}], "b": [{"exists": False}], "c": [{"cidr": "10.0.0.0/8"}]},
        {"$or": [{"a": [1]}, {"b": {"c": [2]}}]},
        {"$or": ["a field of that name"]},
    ],
)
def test_patterns(pattern: Any) -> None:
    check_pattern(json.dumps(pattern))


LEAVES: list[Any] = ["x", 1, None, True, [], [[1]], [{}], [{"prefix": "x", "suffix": "y"}]]
OPERATORS: list[Any] = [{"like": "x"}, {"prefix": 1}, {"exists": "true"}, {"anything-but": []}, {"cidr": 1}]
RANGES: list[Any] = [[], [">"], [">", "1"], ["<", 1, ">", 0], ["!", 1], 5, [">", True]]


@pytest.mark.parametrize(
    "text",
    [
        *("", "simple string", "null", "[]", '"x"', "{", '[{"eventName": ["INSERT"=123}]'),
        *(json.dumps({"a": leaf}) for leaf in LEAVES),
        *(json.dumps({"a": [operator]}) for operator in OPERATORS),
        *(json.dumps({"a": [{"numeric": bounds}]}) for bounds in RANGES),
        '{"a": ' * 10_000 + "[1]" + "}" * 10_000,
        json.dumps({"a": [{"anything-but": {"exists": [True]}}]}),
    ],
)
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(ValueError):
        check_pattern(text)
