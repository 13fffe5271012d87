"""Comparisons in filter patterns with a value of a JSON event or a field of a space-delimited one: `= "x*"`, `!= %x[0-9]%`, `>= 5e2`."""

import operator
from collections.abc import Callable
from string import ascii_letters, digits

from hanabi.ledger.patterns.regex import Regex
from hanabi.ledger.patterns.scanner import InvalidPattern, Scanner

REGEXES = 2  # in one pattern
_UNQUOTED = frozenset(ascii_letters + digits + "_.*+-")
_NUMBER = frozenset(digits + "+-.eE")
_NUMBER_CHARS = 64  # a longer one is text
_ORDERS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}

Comparison = Callable[[str, bool], bool]  # (text of the value, whether it is a number)


class Comparisons:
    """Parses the comparisons of one pattern, and counts its regular expressions."""

    def __init__(self) -> None:
        self._regexes = 0

    def parse(self, scanner: Scanner) -> Comparison:
        """Parse an operator and what it compares with."""
        symbol = scanner.take("!=", ">=", "<=", "=", ">", "<")
        if not symbol:
            raise scanner.bad_characters()
        scanner.skip_spaces()
        if scanner.next in ("=", "!", "<", ">"):
            raise InvalidPattern()
        if symbol in _ORDERS:
            return self._order(scanner, symbol)
        equals = self._equality(scanner)
        return equals if symbol == "=" else lambda text, is_number: not equals(text, is_number)

    def _order(self, scanner: Scanner, symbol: str) -> Comparison:
        start = scanner.position
        if scanner.next == '"':
            scanner.quoted()
            raise InvalidPattern(f"Invalid character(s) in term '{scanner.text[start : scanner.position]}'")
        word = scanner.run_of(_UNQUOTED)
        limit = to_number(word)
        if limit is None:
            raise InvalidPattern(f"Invalid character(s) in term '{word}'") if word else scanner.bad_characters()
        compare = _ORDERS[symbol]

        def follows(text: str, is_number: bool) -> bool:
            value = to_number(text) if is_number else None
            return value is not None and compare(value, limit)

        return follows

    def _equality(self, scanner: Scanner) -> Comparison:
        if scanner.next == "%":
            self._regexes += 1
            if self._regexes > REGEXES:
                raise InvalidPattern()
            regex = Regex(scanner.between_percents())
            return lambda text, is_number: regex.matches(text)
        if scanner.next == '"':
            matches = wildcard(scanner.quoted())
            return lambda text, is_number: matches(text)
        word = scanner.run_of(_UNQUOTED)
        if not word:
            raise scanner.bad_characters()
        matches = wildcard(word)
        number = to_number(word)
        if number is None:
            return lambda text, is_number: matches(text)
        return lambda text, is_number: matches(text) or (is_number and to_number(text) == number)


def wildcard(pattern: str) -> Callable[[str], bool]:
    """Make the test for a string with `*` at its beginning, its end or both. Anywhere else a `*` is itself."""
    before, after = pattern.startswith("*"), pattern.endswith("*")
    if pattern == "*":
        return lambda text: True
    inner = pattern[before : len(pattern) - after]
    if before and after:
        return lambda text: inner in text
    if before:
        return lambda text: text.endswith(inner)
    if after:
        return lambda text: text.startswith(inner)
    return lambda text: text == pattern


def to_number(text: str) -> float | None:
    """Return the number that a text is; None for anything else."""
    if not text or len(text) > _NUMBER_CHARS or not _NUMBER.issuperset(text):
        return None
    try:
        return float(text)
    except ValueError:
        return None
