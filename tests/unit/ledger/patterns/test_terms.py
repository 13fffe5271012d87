"""Filter patterns of terms: the examples of CloudWatch Logs' documentation."""

import pytest

from hanabi.ledger.patterns.scanner import InvalidPattern
from hanabi.ledger.patterns.terms import compile_terms


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        ("ERROR", ["[ERROR 400] BAD REQUEST", "Exiting with ERRORCODE: -1"], ["error", ""]),
        ("ERROR ARGUMENTS", ["ERROR MISSING ARGUMENTS"], ["ERROR 400", "ARGUMENTS"]),
        ("?ERROR ?ARGUMENTS", ["ERROR 400", "INVALID ARGUMENTS"], ["fine"]),
        ("ERROR -ARGUMENTS", ["ERROR 400"], ["ERROR INVALID ARGUMENTS", "fine"]),
        ('"INTERNAL SERVER ERROR"', ["500 INTERNAL SERVER ERROR!"], ["INTERNAL ERROR SERVER"]),
        ('-"is fine"', ["bad"], ["all is fine"]),
        ('?"a b" ?c', ["xa by", "c"], ["a-b"]),
        ('"say \\"hi\\""', ['they say "hi"'], ["say hi"]),
        ("?ERROR ?ARGUMENTS REQUEST", ["[INFO] REQUEST FAILED"], ["[ERROR] ARGUMENTS"]),
        ('"REPORT RequestId:"', ["REPORT RequestId: 1"], ["RequestId"]),
        ('ERROR"two words"', ["two words, ERROR"], ["ERROR"]),
        ("größe", ["die größe"], ["groesse"]),
        ('"ä b" -"" x', [], ["x ä b"]),  # the empty term is in every event
    ],
)
def test_terms(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    matches = compile_terms(pattern)
    assert matches is not None
    assert [text for text in matched if not matches(text)] == []
    assert [text for text in unmatched if matches(text)] == []


@pytest.mark.parametrize("pattern", ['" "', ' "  " ', '?a " "'])
def test_white_space_is_in_every_event(pattern: str) -> None:
    assert compile_terms(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("Request:Id", "':'"),
        ("?Status: timeout", "':'"),
        ("Player (reason", "'('"),
        ('"open', "'\"'"),
        ("a@b", "'@'"),
        ("a-b", "'-'"),
        ("ERROR %x%", "'%'"),
    ],
)
def test_what_a_term_may_not_have_is_named(pattern: str, said: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        compile_terms(pattern)
    assert caught.value.message == f"Invalid character(s) in term {said}"


@pytest.mark.parametrize("pattern", ["- x", "?", "-", '"\\'])
def test_a_sign_is_followed_by_a_term(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_terms(pattern)
