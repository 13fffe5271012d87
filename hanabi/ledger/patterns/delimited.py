"""Filter patterns for space-delimited events: `[ip, user, ..., status = 4* && status != 403, bytes > 1000]`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hanabi.ledger.patterns.comparisons import Comparisons, to_number
from hanabi.ledger.patterns.scanner import NAME, Condition, InvalidPattern, Scanner, parse_expression

_NAME = NAME | frozenset("-")
_CLOSING = {"[": "]", '"': '"'}


@dataclass(frozen=True, slots=True)
class Field:
    name: str  # "" without one
    condition: Condition[str] | None = None


class DelimitedPattern:
    """A pattern between `[` and `]`. Raises `InvalidPattern`.

    Without `...`, the last field takes all that is left of an event; an event with fewer fields does not match.
    """

    def __init__(self, pattern: str) -> None:
        scanner = Scanner(pattern)
        comparisons = Comparisons()
        self._fields: list[Field] = []
        self._ellipsis: int | None = None  # the place of `...` among the fields
        scanner.take("[")
        while True:
            if scanner.take("..."):
                if self._ellipsis is not None:
                    raise InvalidPattern()
                self._ellipsis = len(self._fields)
            else:
                self._fields.append(_parse_field(scanner, comparisons))
            if not scanner.take(","):
                break
        if not scanner.take("]") or scanner.next:
            raise scanner.bad_characters()

    def matches(self, text: str) -> bool:
        found = self._find(text)
        return found is not None and all(
            field.condition is None or field.condition(value) for field, value in zip(self._fields, found, strict=True)
        )

    def extract(self, text: str) -> dict[str, str]:
        """Return the fields of an event that matches, by `$name`, or `$7` where the pattern gives no name."""
        found = self._find(text)
        if found is None:
            return {}
        if self._ellipsis is None:
            return {f"${field.name or number}": value for number, (field, value) in enumerate(zip(self._fields, found, strict=True), 1)}
        values = list(split_fields(text))
        first, skipped = self._ellipsis, len(values) - len(self._fields)
        names = [field.name for field in self._fields]
        names[first:first] = [""] * skipped
        return {f"${name or number}": value for number, (name, value) in enumerate(zip(names, values, strict=True), 1)}

    def _find(self, text: str) -> Sequence[str] | None:
        """Return the values of the pattern's fields; None when the event has fewer."""
        count = len(self._fields)
        if self._ellipsis is None:
            values = list(split_fields(text, count))
            return values if len(values) == count else None
        values = list(split_fields(text))
        if len(values) < count:
            return None
        first = self._ellipsis
        return values[:first] + values[len(values) - (count - first) :]


def _parse_field(scanner: Scanner, comparisons: Comparisons) -> Field:
    scanner.skip_spaces()
    start = scanner.position
    name = scanner.run_of(_NAME)
    scanner.skip_spaces()
    if scanner.next in (",", "]"):
        return Field(name)
    scanner.position = start
    names: set[str] = set()

    def parse_condition(scanner: Scanner) -> Condition[str]:
        scanner.skip_spaces()
        name = scanner.run_of(_NAME)
        if not name:
            raise scanner.bad_characters()
        names.add(name)
        compare = comparisons.parse(scanner)
        return lambda value: compare(value, to_number(value) is not None)

    condition = parse_expression(scanner, parse_condition)
    if len(names) != 1:  # each field has its own conditions
        raise InvalidPattern()
    return Field(names.pop(), condition)


def split_fields(text: str, limit: int = 0) -> Iterator[str]:
    """Yield the fields of an event: words, and what is between brackets or quotation marks. With a limit, the last one is all the rest."""
    position, count, size = 0, 0, len(text)
    closings = dict(_CLOSING)
    while True:
        while position < size and text[position].isspace():
            position += 1
        if position == size:
            return
        count += 1
        closing = closings.get(text[position])
        end = text.find(closing, position + 1) if closing is not None else -1
        if closing is not None and end < 0:  # nor will it be found again: one look at the text is enough
            del closings[text[position]]
        if count == limit:
            rest = text[position:].rstrip()
            yield rest[1:-1] if end == position + len(rest) - 1 else rest
            return
        if end >= 0:
            yield text[position + 1 : end]
            position = end + 1
        else:
            end = position
            while end < size and not text[end].isspace():
                end += 1
            yield text[position:end]
            position = end
