"""Filter patterns for JSON events: `{ $.a.b[0] = "x*" && ($.latency > 75 || $.error IS TRUE) }`."""

import json
from collections.abc import Callable, Iterator
from string import digits
from typing import Any

from hanabi.ledger.patterns.comparisons import Comparisons
from hanabi.ledger.patterns.scanner import NAME, Condition, InvalidPattern, Scanner, parse_expression

WILDCARDS = 3  # in one pattern; one in a selector
_NAME = NAME | frozenset("-")
_DIGITS = frozenset(digits)
_INDEX_DIGITS = 6
_WILDCARD = object()

Step = Any  # a key, an index, or `_WILDCARD`


class _Number(str):
    """The text of a JSON number."""

    __slots__ = ()


class JsonPattern:
    """A pattern between `{` and `}`. Raises `InvalidPattern`."""

    def __init__(self, pattern: str) -> None:
        scanner = Scanner(pattern)
        self._comparisons = Comparisons()
        self._wildcards = 0
        scanner.take("{")
        self._condition = parse_expression(scanner, self._parse_condition)
        if not scanner.take("}") or scanner.next:
            raise scanner.bad_characters()

    def matches(self, text: str) -> bool:
        if text.lstrip()[:1] not in ("{", "["):
            return False
        try:
            value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
        except (ValueError, RecursionError):
            return False
        return self._condition(value)

    def _parse_condition(self, scanner: Scanner) -> Condition[Any]:
        select = self._parse_selector(scanner)
        if scanner.take_word("IS"):
            for word, wanted in (("NULL", None), ("TRUE", True), ("FALSE", False)):
                if scanner.take_word(word):
                    return lambda event: any(value is wanted for value in select(event))
            raise scanner.bad_characters()
        if scanner.take_word("NOT"):
            if not scanner.take_word("EXISTS"):
                raise scanner.bad_characters()
            return lambda event: next(select(event), _WILDCARD) is _WILDCARD
        compare = self._comparisons.parse(scanner)
        return lambda event: any(isinstance(value, str) and compare(value, type(value) is _Number) for value in select(event))

    def _parse_selector(self, scanner: Scanner) -> Callable[[Any], Iterator[Any]]:
        """Parse `$.name`, `$.list[0].name`, `$.list[*]`, `$.*` or `$.['a name']`."""
        if not scanner.take("$"):
            raise scanner.bad_characters()
        steps: list[Step] = []
        while scanner.next in (".", "["):
            if scanner.next == ".":
                scanner.position += 1
            if scanner.next == "[":
                steps.append(self._parse_bracket(scanner))
            elif scanner.next == "*":
                scanner.position += 1
                steps.append(self._count_wildcard(steps))
            else:
                name = scanner.run_of(_NAME)
                if not name:
                    scanner.position -= 1
                    raise InvalidPattern(f"Invalid character(s) in term '$.{scanner.text[scanner.position + 1 : scanner.position + 2]}'")
                steps.append(name)
        if not steps:
            raise scanner.bad_characters()
        return lambda event: _select(event, steps)

    def _parse_bracket(self, scanner: Scanner) -> Step:
        scanner.position += 1
        scanner.skip_spaces()
        step: Step
        if scanner.next in ("'", '"'):
            step = scanner.quoted(scanner.next)
        elif scanner.next == "*":
            scanner.position += 1
            step = self._count_wildcard([])
        else:
            number = scanner.run_of(_DIGITS)
            if not 0 < len(number) <= _INDEX_DIGITS:
                raise scanner.bad_characters()
            step = int(number)
        if not scanner.take("]"):
            raise scanner.bad_characters()
        return step

    def _count_wildcard(self, steps: list[Step]) -> Step:
        self._wildcards += 1
        if self._wildcards > WILDCARDS or _WILDCARD in steps:
            raise InvalidPattern()
        return _WILDCARD


def _select(event: Any, steps: list[Step]) -> Iterator[Any]:
    """Yield the values at a path: one at most, unless it has a wildcard."""
    value = event
    for number, step in enumerate(steps):
        if step is _WILDCARD:
            inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            for each in inner:
                yield from _select(each, steps[number + 1 :])
            return
        if isinstance(step, str) and isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return
    yield value
