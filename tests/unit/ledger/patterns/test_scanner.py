"""The reader of filter patterns, and boolean expressions."""

import pytest

from hanabi.ledger.patterns.scanner import DEPTH, Condition, InvalidPattern, Scanner, parse_expression


def parse_letter(scanner: Scanner) -> Condition[str]:
    scanner.skip_spaces()
    letter = scanner.word()
    if not letter:
        raise scanner.bad_characters()
    return lambda value: letter in value


@pytest.mark.parametrize("true", ["a", "abc", "b c"])
def test_and_binds_more_than_or(true: str) -> None:
    condition = parse_expression(Scanner("a || b && c"), parse_letter)
    assert condition(true) and not condition("b")
    condition = parse_expression(Scanner("(a || b) && c"), parse_letter)
    assert condition("bc") and not condition("a")


def test_parentheses_are_bounded() -> None:
    assert parse_expression(Scanner("(" * DEPTH + "a" + ")" * DEPTH), parse_letter)("a")
    for text in ("(" * (DEPTH + 1) + "a" + ")" * (DEPTH + 1), "(a", "", "a &&"):
        with pytest.raises(InvalidPattern):
            parse_expression(Scanner(text), parse_letter)


def test_words_and_strings() -> None:
    scanner = Scanner('  IS "a\\"b" %x y% \'c\' ISN')
    assert scanner.take("x") == "" and scanner.take_word("IS") and not scanner.take_word("IS")
    assert scanner.quoted() == 'a"b'
    scanner.skip_spaces()
    assert scanner.between_percents() == "x y"
    scanner.skip_spaces()
    assert scanner.quoted("'") == "c" and not scanner.take_word("IS")
    for text in ('"a', '"a\\', "%a"):
        with pytest.raises(InvalidPattern):
            Scanner(text).between_percents() if text[0] == "%" else Scanner(text).quoted()
