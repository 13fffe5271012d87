"""The wildcard matcher: what it matches, compared with a plain table of answers, and that its work is linear."""

import random

import pytest

from hanabi.base.patterns import Wildcard, matches
from tests.security.growth import assert_linear


def by_table(pattern: str, text: str) -> bool:
    """The definition, in m x n steps."""
    row = [True] + [False] * len(text)
    for character in pattern:
        if character == "*":
            for index in range(len(text)):
                row[index + 1] = row[index + 1] or row[index]
        else:
            row = [False] + [before and character in ("?", text[index]) for index, before in enumerate(row[:-1])]
    return row[-1]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("***", "any\nthing", True),
        ("?", "", False),
        ("??", "ab", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab", "aab", True),
        ("a?c*", "abcd", True),
        ("*b?d*", "abxbcd", True),
        ("arn:aws:lambda:*:*:function:hello", "arn:aws:lambda:us-east-1:000000000000:function:hello", True),
        ("arn:aws:lambda:*:*:function:hello", "arn:aws:lambda:us-east-1:000000000000:function:hello2", False),
        ("(a+)+$", "(a+)+$", True),
        ("[ab]", "a", False),
        ("?", "?", True),
        ("*?*", "?", True),
    ],
)
def test_what_matches(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected
    assert by_table(pattern, text) is expected


def test_case() -> None:
    assert matches("LAMBDA:Get*", "lambda:getFunction", ignore_case=True)
    assert not matches("LAMBDA:Get*", "lambda:getFunction")


def test_it_agrees_with_the_definition() -> None:
    chance = random.Random(1)
    for _ in range(20_000):
        pattern = "".join(chance.choices("ab?*", k=chance.randrange(12)))
        text = "".join(chance.choices("ab", k=chance.randrange(16)))
        assert matches(pattern, text) is by_table(pattern, text), (pattern, text)


@pytest.mark.parametrize("unit", ["*a", "*ab", "*a?", "?", "*?", "*a?a?b", "*" + "a" * 60 + "b", "a", "*\u00e9"])
def test_long_patterns_are_linear(unit: str) -> None:
    """The text grows and the pattern with it: `*a*a*a*a...b`."""
    assert_linear(lambda n: (unit * n + "Z", "a" * n * 2), lambda given: Wildcard(given[0]).matches(given[1]))


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*a*a*b", "*a?a?a?a?a*b", "*" + "a" * 50 + "?b*", "*" + "a" * 99 + "b*", "*" * 200 + "b"])
def test_long_texts_are_linear(pattern: str) -> None:
    assert_linear(lambda n: "a" * n, Wildcard(pattern).matches)
