"""Filter patterns: CloudWatch Logs' own examples, and clear refusals."""

import pytest

from hanabi.ledger.log_errors import InvalidParameter
from hanabi.ledger.patterns import compile_pattern


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
        ("?ERROR plain", ["plain"], ["ERROR"]),
        ('"REPORT RequestId:"', ["REPORT RequestId: 1"], ["RequestId"]),
    ],
)
def test_terms(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    matches = compile_pattern(pattern)
    assert matches is not None
    assert [text for text in matched if not matches(text)] == []
    assert [text for text in unmatched if matches(text)] == []


@pytest.mark.parametrize("pattern", ["", "  ", '""'])
def test_nothing_matches_everything(pattern: str) -> None:
    assert compile_pattern(pattern) is None


@pytest.mark.parametrize("pattern", ['{ $.level = "ERROR" }', "[ip, user, ...]", "%ERR.*%", "Request:Id", '"open', "a@b", "- x"])
def test_what_is_not_supported_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidParameter):
        compile_pattern(pattern)
