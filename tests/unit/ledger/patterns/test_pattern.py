"""Filter patterns of every kind."""

import random

import pytest

from hanabi.ledger.log_errors import InvalidParameter
from hanabi.ledger.patterns.pattern import compile_pattern


@pytest.mark.parametrize("pattern", ["", "  ", '""', '" "'])
def test_nothing_matches_everything(pattern: str) -> None:
    assert compile_pattern(pattern).matches is None


@pytest.mark.parametrize(
    ("pattern", "event"),
    [
        ("ERROR", "an ERROR"),
        ("%[mM]essage%", "Successful message"),
        (' { $.level = "ERROR" } ', '{"level": "ERROR"}'),
        (" [level = ERROR, ...] ", "ERROR 1"),
    ],
)
def test_the_kind_is_known_by_the_first_character(pattern: str, event: str) -> None:
    compiled = compile_pattern(pattern)
    assert compiled.matches is not None
    assert compiled.matches(event) and not compiled.matches("else") and compiled.extract(event) in ({}, {"$level": "ERROR", "$2": "1"})


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'"),
        ("[a, b", "If a filter pattern starts with '[' it must end with ']'"),
        ("[", "If a filter pattern starts with '[' it must end with ']'"),
        ("%a", "Invalid character(s) in term '%'"),
        ("%%", "Invalid character(s) in term '%%'"),
        ("%a% %b%", "Invalid character(s) in term '%'"),
        ("{ $.a == 1 }", "Invalid filter pattern"),
    ],
)
def test_refusals(pattern: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        compile_pattern(pattern)
    assert caught.value.message == message


def test_whatever_comes_is_compiled_or_refused() -> None:
    rng = random.Random(5)
    words = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "$",
        ".",
        "*",
        "%",
        '"',
        "\\",
        "'",
        "=",
        "!=",
        ">",
        "<=",
        "&&",
        "||",
        "...",
        ",",
        "a",
        "1",
        "-",
        "?",
    ]
    words += [" ", "IS", "NULL", "NOT", "EXISTS", "é", "\n", "{1,3}", "^", "|", "+"]
    events = ["", "a 1", '{"a": [1, {"1": "a"}]}', '[a] "1" - ?', "é\n", "\ud800"]
    for _ in range(20_000):
        pattern = "".join(rng.choice(words) for _ in range(rng.randrange(1, 12)))
        pattern = rng.choice(["{}", "[]", "%%", ("{ $.", " }"), ("[a, ", "]"), ("", "")])[0] + pattern + rng.choice(["}", "]", "%", ""])
        try:
            compiled = compile_pattern(pattern)
        except InvalidParameter:
            continue
        for event in events:
            if compiled.matches is not None and compiled.matches(event):
                compiled.extract(event)
