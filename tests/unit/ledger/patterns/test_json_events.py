"""Filter patterns for JSON events: the documentation's examples, and what was observed of AWS's answers."""

import json

import pytest

from hanabi.ledger.patterns.json_events import JsonPattern
from hanabi.ledger.patterns.scanner import DEPTH, InvalidPattern

EVENT = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "cluster.name": "c",
        "ThisFlag": True,
        "that": False,
        "int": 123,
        "float": 12.0,
        "small": 1e-3,
        "big": 10**400,
        "user": {"id": 1, "email": "John.Stiles@example.com"},
        "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
        "actions": ["GET", "PUT", "DELETE"],
        "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]],
        "a-b_c": "dash",
        "number as text": "400",
        "escaped": 'error "message"',
    }
)

MATCHED = [
    '{ $.eventType = "UpdateTrail" }',
    "{$.eventType=UpdateTrail}",
    "{ $.sourceIPAddress != 123.123.* }",
    '{ $.arrayKey[0] = "value" }',
    "{ $.eventType = %Trail% }",
    "{ $.arrayKey[*] = %val.{2}% }",
    r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }",
    "{ $.objectList[1].id = 2 }",
    "{ $.['cluster.name'] = \"c\" }",
    '{ $["cluster.name"] = "c" }',
    "{ $.SomeObject IS NULL }",
    "{ $.SomeOtherObject NOT EXISTS }",
    "{ $.Some.Other[3] NOT EXISTS }",
    "{ $.ThisFlag IS TRUE }",
    "{ $.that IS FALSE }",
    '{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }',
    '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }',
    "{ $.coordinates[1][1] = 5 }",
    "{ $.int > 75 }",
    "{ $.int < 1e3 }",
    "{ $.int >= 123 && $.int <= +123.0 }",
    "{ $.int = 123.0 }",
    '{ $.int = "123" }',
    '{ $.int != "123.0" }',  # what is quoted is compared as text
    "{ $.int = 12* }",
    "{ $.int = *23 }",
    "{ $.int = * }",
    "{ $.float = 12 }",
    '{ $.float != "12" }',
    "{ $.small = 1e-3 }",
    "{ $.small != 1e+3 }",
    "{ $.a-b_c = d* }",
    "{ $.['number as text'] = 400 }",
    '{ $.sourceIPAddress != "111*111" }',  # a `*` in the middle is itself
    '{ $.sourceIPAddress = "*.111.11*" }',
    r'{ $.escaped = "error \"message\"" }',
    '{ $.users[*].email = "Jane*" }',
    "{ $.users.*.id = 3 }",
    "{ $.big = * }",
]

UNMATCHED = [
    '{ $.eventType = "updatetrail" }',
    '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }',
    '{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }',
    "{ $.users = 1 }",  # neither equal nor different: it is a list
    "{ $.users != 1 }",
    "{ $.user != x }",
    '{ $.nothing = "x" }',
    '{ $.nothing != "x" }',
    "{ $.SomeObject != x }",
    "{ $.SomeObject NOT EXISTS }",
    "{ $.int IS NULL }",
    "{ $.eventType >= 1 }",
    "{ $.arrayKey[2] = * }",
    "{ $.arrayKey.value = * }",
    "{ $.ThisFlag IS FALSE }",
    '{ $.sourceIPAddress = "11*1" }',
    "{ $.eventType[0] = U }",
]


@pytest.mark.parametrize("pattern", MATCHED)
def test_matched(pattern: str) -> None:
    assert JsonPattern(pattern).matches(EVENT) and JsonPattern(pattern).matches(f" {EVENT}\n")


@pytest.mark.parametrize("pattern", UNMATCHED)
def test_unmatched(pattern: str) -> None:
    assert not JsonPattern(pattern).matches(EVENT)


@pytest.mark.parametrize(
    "message", ["", "eventType", "{", "1", '"x"', "[" * 100_000, '{"a": ' * 100_000, EVENT + "x", "START RequestId: x"]
)
def test_what_is_no_json_matches_nothing(message: str) -> None:
    assert not JsonPattern("{ $.x NOT EXISTS }").matches(message)


def test_an_event_may_be_a_list() -> None:
    assert JsonPattern("{ $[1].a = 2 }").matches('[1, {"a": 2}]')


@pytest.mark.parametrize(
    "pattern",
    [
        *("{}", "{ $ = 1 }", "{ $.a }", "{ $.a = }", "{ $.a == 1 }", "{ $.a = 1", "{ a = 1 }", "{ $.a = 1 } x", "{ $.a = 1 $.b = 2 }"),
        *("{ $.a EXISTS }", "{ $.a IS NOT NULL }", "{ $.a IS }", "{ $.a NOT NULL }", '{ $.a = "x }', "{ $.a = %x }", "{ $.a = x:y }"),
        *("{ $.a[x] = 1 }", "{ $.a[1 = 1 }", "{ $.a[99999999] = 1 }", '{ $."a" = 1 }', "{ $.a. = 1 }", "{ $.*.* = 1 }", "{ ($.a = 1 }"),
        *("{ $.a = 1) }", "{ $.a > b }", '{ $.a >= "1" }', "{ $.a = 1 && }", "{ $.a = 1 & $.b = 1 }", "{ $.a =! 1 }"),
        "{ $.*=1 || $.*=2 || $.*=3 || $.*=4 }",
        "{ $.a = %x% || $.a = %y% || $.a = %z% }",
        "{" + "(" * (DEPTH + 1) + "$.a = 1" + ")" * (DEPTH + 1) + "}",
    ],
)
def test_refusals(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        JsonPattern(pattern)


def test_what_is_wrong_is_named() -> None:
    for pattern, said in (
        ('{ $.a >= "1" }', "'\"1\"'"),
        ("{ $.a > b }", "'b'"),
        ('{ $.a = "e", $.b = 1 }', "','"),
        ('{ $."a" = 1 }', "'$.\"'"),
    ):
        with pytest.raises(InvalidPattern) as caught:
            JsonPattern(pattern)
        assert caught.value.message == f"Invalid character(s) in term {said}"
