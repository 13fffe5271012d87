"""CloudWatch Logs filter patterns: terms, `%regex%`, `{ $.json = 1 }` and `[space, delimited = 1]`.

A pattern is parsed once, and matched in time linear in a message.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from hanabi.contracts.logs import Matcher
from hanabi.ledger.patterns.delimited import DelimitedPattern
from hanabi.ledger.patterns.json_events import JsonPattern
from hanabi.ledger.patterns.regex import Regex
from hanabi.ledger.patterns.scanner import InvalidPattern
from hanabi.ledger.patterns.terms import compile_terms

SLICE_CHARS = 8 * 1024  # after which the event loop's thread may have the interpreter: less than a millisecond's work


def _no_fields(message: str) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. `matches` None: every message matches."""

    matches: Matcher | None
    extract: Callable[[str], dict[str, str]] = _no_fields  # the named fields of a message that matches


def compile_pattern(pattern: str) -> Pattern:
    """Compile a pattern. Raises `InvalidPattern`."""
    pattern = pattern.strip()
    if pattern in ("", '""'):
        return Pattern(None)
    for first, last in ("{}", "[]"):
        if pattern[0] == first and (pattern[-1] != last or len(pattern) == 1):
            raise InvalidPattern(f"If a filter pattern starts with '{first}' it must end with '{last}'")
    if pattern[0] == "{":
        return Pattern(_in_slices(JsonPattern(pattern).matches))
    if pattern[0] == "[":
        delimited = DelimitedPattern(pattern)
        return Pattern(_in_slices(delimited.matches), delimited.extract)
    if pattern[0] == "%" and len(pattern) > 2 and pattern.find("%", 1) == len(pattern) - 1:
        return Pattern(_in_slices(Regex(pattern[1:-1]).matches))
    return Pattern(compile_terms(pattern))


def _in_slices(matches: Matcher) -> Matcher:
    """Let other threads run between messages: what takes ten times as long as terms must not make invocations wait."""
    left = SLICE_CHARS

    def match(text: str) -> bool:
        nonlocal left
        left -= len(text) + 1
        if left <= 0:
            left = SLICE_CHARS
            time.sleep(0)
        return matches(text)

    return match
