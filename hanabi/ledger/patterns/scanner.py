"""A reader of filter patterns, and boolean expressions of conditions: `a && (b || c)`."""

from collections.abc import Callable
from string import ascii_letters, digits
from typing import TypeVar

from hanabi.ledger.log_errors import InvalidParameter

T = TypeVar("T")
Condition = Callable[[T], bool]

NAME = frozenset(ascii_letters + digits + "_")
DEPTH = 32  # parentheses in one another
INVALID = "Invalid filter pattern"


class InvalidPattern(InvalidParameter):
    """A filter pattern that is none."""

    def __init__(self, message: str = INVALID) -> None:
        super().__init__(message)


class Scanner:
    """A pattern, and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    @property
    def next(self) -> str:
        """The next character; "" at the end."""
        return self.text[self.position : self.position + 1]

    def skip_spaces(self) -> None:
        while self.next.isspace():
            self.position += 1

    def take(self, *wanted: str) -> str:
        """Read the first of `wanted` that comes next, after spaces; "" when none does."""
        self.skip_spaces()
        for each in wanted:
            if self.text.startswith(each, self.position):
                self.position += len(each)
                return each
        return ""

    def take_word(self, word: str) -> bool:
        """Read a word in whatever case, if it comes next, after spaces."""
        self.skip_spaces()
        end = self.position + len(word)
        if self.text[self.position : end].upper() != word or self.text[end : end + 1] in NAME:
            return False
        self.position = end
        return True

    def word(self) -> str:
        """Read as many letters, digits and underscores as come next."""
        start = self.position
        while self.next.isalnum() or self.next == "_":
            self.position += 1
        return self.text[start : self.position]

    def run_of(self, characters: frozenset[str]) -> str:
        """Read as many of these characters as come next."""
        start = self.position
        while self.next and self.next in characters:
            self.position += 1
        return self.text[start : self.position]

    def quoted(self, quote: str = '"') -> str:
        """Read a quoted string, in which a backslash takes the character after it as it is."""
        start = self.position
        parts = []
        self.position += 1
        while self.next != quote:
            if self.next == "\\":
                self.position += 1
            if not self.next:
                self.position = start
                raise self.bad_characters()
            parts.append(self.next)
            self.position += 1
        self.position += 1
        return "".join(parts)

    def between_percents(self) -> str:
        """Read what is between this percent sign and the next one."""
        end = self.text.find("%", self.position + 1)
        if end < 0:
            raise self.bad_characters()
        start, self.position = self.position + 1, end + 1
        return self.text[start:end]

    def bad_characters(self) -> InvalidPattern:
        """Make the error for what comes next and cannot be read."""
        end = self.position
        while end < len(self.text) and not (self.text[end].isalnum() or self.text[end] in "_ "):
            end += 1
        return InvalidPattern(f"Invalid character(s) in term '{self.text[self.position : end]}'" if end > self.position else INVALID)


def parse_expression(scanner: Scanner, parse_condition: Callable[[Scanner], Condition[T]], depth: int = 0) -> Condition[T]:
    """Parse conditions joined by `&&`, which binds more, and `||`, perhaps with parentheses."""
    choices = [_parse_all(scanner, parse_condition, depth)]
    while scanner.take("||"):
        choices.append(_parse_all(scanner, parse_condition, depth))
    return choices[0] if len(choices) == 1 else lambda value: any(condition(value) for condition in choices)


def _parse_all(scanner: Scanner, parse_condition: Callable[[Scanner], Condition[T]], depth: int) -> Condition[T]:
    wanted = [_parse_one(scanner, parse_condition, depth)]
    while scanner.take("&&"):
        wanted.append(_parse_one(scanner, parse_condition, depth))
    return wanted[0] if len(wanted) == 1 else lambda value: all(condition(value) for condition in wanted)


def _parse_one(scanner: Scanner, parse_condition: Callable[[Scanner], Condition[T]], depth: int) -> Condition[T]:
    if not scanner.take("("):
        return parse_condition(scanner)
    if depth == DEPTH:
        raise InvalidPattern()
    condition = parse_expression(scanner, parse_condition, depth + 1)
    if not scanner.take(")"):
        raise scanner.bad_characters()
    return condition
