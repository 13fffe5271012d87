"""Comparisons in filter patterns."""

import pytest

from hanabi.ledger.patterns.comparisons import Comparisons, to_number, wildcard
from hanabi.ledger.patterns.scanner import InvalidPattern, Scanner


@pytest.mark.parametrize(
    ("comparison", "value", "is_number", "result"),
    [
        ("= 5", "5", True, True),
        ("= 5", "5.0", True, True),
        ("= 5", "5.0", False, False),
        ('= "5"', "5.0", True, False),
        ("!= 5", "5", True, False),
        ("!=5", "6", True, True),
        ("> 5", "6", True, True),
        ("> 5", "6", False, False),
        ("<= 5e2", "500", True, True),
        ("< -1.5", "-2", True, True),
        ("= a*", "abc", False, True),
        ("!= a*", "abc", False, False),
        ("= %^a.c$%", "abc", False, True),
        ("!= %^a.c$%", "abc", False, False),
    ],
)
def test_comparisons(comparison: str, value: str, is_number: bool, result: bool) -> None:
    assert Comparisons().parse(Scanner(comparison))(value, is_number) is result


@pytest.mark.parametrize("comparison", ["", "5", "=", "= ", "== 5", "> a", '> "5"', "> %x%", "> *", '= "x', "=> 5", "<> 5"])
def test_refusals(comparison: str) -> None:
    with pytest.raises(InvalidPattern):
        Comparisons().parse(Scanner(comparison))


def test_two_regular_expressions_at_most() -> None:
    comparisons = Comparisons()
    for _ in range(2):
        comparisons.parse(Scanner("= %x%"))
    with pytest.raises(InvalidPattern):
        comparisons.parse(Scanner("= %x%"))


def test_wildcards() -> None:
    for pattern, text in (
        ("*", ""),
        ("*a", "ba"),
        ("a*", "ab"),
        ("*a*", "bab"),
        ("a*b", "a*b"),
        ("a", "a"),
        ("**", "x"),
        ("*a*b*", "xa*by"),
    ):
        assert wildcard(pattern)(text), pattern
    for pattern, text in (("*a", "ab"), ("a*", "ba"), ("a*b", "axb"), ("a", "ab"), ("", "a")):
        assert not wildcard(pattern)(text), pattern


def test_numbers() -> None:
    assert [to_number(text) for text in ("1", "-1.5", "+1e3", "10e-3")] == [1, -1.5, 1000, 0.01]
    assert [to_number(text) for text in ("", "x", "nan", "inf", "1_0", " 1", "1" * 100, "--1", "e")] == [None] * 9
