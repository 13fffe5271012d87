"""The `Condition` of a policy statement: operators, keys, and the variables that a policy may have in its patterns and values.

Keys are those of the request (`ConditionKeys`), their names in lower case. A missing key makes an operator false, a negated one true,
`...IfExists` true, `ForAllValues:` true and `ForAnyValue:` false, as in AWS. Patterns are matched by `hanabi.base.patterns`.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from hanabi.base.patterns import matches

ConditionKeys = Mapping[str, tuple[str, ...]]
Test = Callable[[str, str], bool]  # (the policy's value, the request's)

_VARIABLE = re.compile(r"\$\{([^{}]{1,256})\}")
_LITERALS = str.maketrans({"*": "\ue000", "?": "\ue001", "\ue000": "\ue002", "\ue001": "\ue002"})  # what is no wildcard in a pattern


class Unresolved(Exception):
    """A variable that the request does not have. A pattern with it matches nothing."""


def literal(text: str) -> str:
    """Escape a text for use in or against a pattern: its `*` and `?` match only themselves."""
    return text.translate(_LITERALS)


def expand(pattern: str, condition_keys: ConditionKeys, variables: bool) -> str:
    """Replace the variables of a pattern, which is then matched against `literal` texts. Raises `Unresolved`."""
    if not variables or "${" not in pattern:
        return pattern

    def replace(match: re.Match[str]) -> str:
        inner = match[1].strip()
        if inner in ("*", "?", "$"):
            return literal(inner)
        key, comma, default = inner.partition(",")
        values = condition_keys.get(key.strip().lower(), ())
        if len(values) == 1:
            return literal(values[0])
        default = default.strip()
        if not comma or len(default) < 2 or default[0] != "'" or default[-1] != "'":
            raise Unresolved(key)
        return literal(default[1:-1])

    return _VARIABLE.sub(replace, pattern)


def covers(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    return matches(pattern, literal(text), ignore_case=ignore_case)


def _number(compare: Callable[[float, float], bool]) -> Test:
    return lambda wanted, given: compare(float(given), float(wanted))


def _date(compare: Callable[[float, float], bool]) -> Test:
    return lambda wanted, given: compare(_read_date(given), _read_date(wanted))


def _read_date(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _is_in_network(wanted: str, given: str) -> bool:
    return ipaddress.ip_address(given) in ipaddress.ip_network(wanted, strict=False)


def _is_arn_like(wanted: str, given: str) -> bool:
    """Match an ARN part by part. Wildcards do not cross a colon, except in the last part."""
    pattern, text = wanted.split(":", 5), given.split(":", 5)
    return len(pattern) == len(text) == 6 and all(covers(*pair) for pair in zip(pattern, text, strict=True))


def _equal(a: float, b: float) -> bool:
    return a == b


# By the operator's name in lower case. Those of texts get patterns; `literal` of the policy's value makes it no pattern.
_TESTS: dict[str, Test] = {
    "stringequals": lambda wanted, given: wanted == literal(given),
    "stringequalsignorecase": lambda wanted, given: wanted.casefold() == literal(given).casefold(),
    "stringlike": covers,
    "numericequals": _number(_equal),
    "numericlessthan": _number(lambda a, b: a < b),
    "numericlessthanequals": _number(lambda a, b: a <= b),
    "numericgreaterthan": _number(lambda a, b: a > b),
    "numericgreaterthanequals": _number(lambda a, b: a >= b),
    "dateequals": _date(_equal),
    "datelessthan": _date(lambda a, b: a < b),
    "datelessthanequals": _date(lambda a, b: a <= b),
    "dategreaterthan": _date(lambda a, b: a > b),
    "dategreaterthanequals": _date(lambda a, b: a >= b),
    "bool": lambda wanted, given: wanted.lower() == given.lower(),
    "binaryequals": lambda wanted, given: wanted == given,
    "ipaddress": _is_in_network,
    "arnequals": _is_arn_like,
    "arnlike": _is_arn_like,
}
_NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
    "notipaddress": "ipaddress",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}
_EXACT = frozenset({"stringequals", "stringequalsignorecase"})
_OPERATOR = re.compile(r"(?:(foranyvalue|forallvalues):)?([a-z]+?)(ifexists)?")


def is_condition(condition: Any) -> bool:
    """Whether a value has the form of a condition, with known operators only; another one may have no keys."""
    return isinstance(condition, dict) and all(
        isinstance(keys, dict)
        and (not keys or _read_operator(operator) is not None)
        and all(isinstance(value, str | int | float | bool) for values in keys.values() for value in _listed(values))
        for operator, keys in condition.items()
    )


def holds(condition: Mapping[str, Any], condition_keys: ConditionKeys, variables: bool) -> bool:
    """Whether all operators of a condition (`is_condition`) hold for all of their keys."""
    for operator, keys in condition.items():
        found = _read_operator(operator)
        if found is None:
            if keys:
                return False
            continue
        quantifier, name, if_exists = found
        for key, wanted in keys.items():
            if not _holds_for(
                quantifier,
                name,
                if_exists,
                condition_keys.get(key.lower()),
                [_text(value) for value in _listed(wanted)],
                condition_keys,
                variables,
            ):
                return False
    return True


def _holds_for(
    quantifier: str,
    name: str,
    if_exists: bool,
    given: tuple[str, ...] | None,
    wanted: list[str],
    condition_keys: ConditionKeys,
    variables: bool,
) -> bool:
    if name == "null":
        return any(value.lower() == ("false" if given else "true") for value in wanted)
    negated = name in _NEGATED
    if not given:
        return if_exists or quantifier == "forallvalues" or (negated and not quantifier)
    name = _NEGATED.get(name, name)
    found = (any(_passes(name, value, each, condition_keys, variables) for value in wanted) != negated for each in given)
    if quantifier == "forallvalues" or (negated and not quantifier):
        return all(found)
    return any(found)


def _passes(name: str, wanted: str, given: str, condition_keys: ConditionKeys, variables: bool) -> bool:
    try:
        if name in _EXACT:  # what is not a variable is no pattern
            return _TESTS[name](_expand_exactly(wanted, condition_keys, variables), given)
        return _TESTS[name](expand(wanted, condition_keys, variables), given)
    except (ValueError, OverflowError, Unresolved):  # no number, no date, no address: no match
        return False


def _expand_exactly(text: str, condition_keys: ConditionKeys, variables: bool) -> str:
    if not variables or "${" not in text:
        return literal(text)
    pieces: list[str] = []
    last = 0
    for match in _VARIABLE.finditer(text):
        pieces += [literal(text[last : match.start()]), expand(match[0], condition_keys, True)]
        last = match.end()
    return "".join([*pieces, literal(text[last:])])


def _read_operator(operator: str) -> tuple[str, str, bool] | None:
    """(quantifier, name, whether it ends in IfExists), in lower case."""
    match = _OPERATOR.fullmatch(operator.lower()) if len(operator) < 64 else None
    if match is None or (match[2] not in _TESTS and match[2] not in _NEGATED and (match[2] != "null" or match[3] or match[1])):
        return None
    return match[1] or "", match[2], bool(match[3])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "true" if value is True else "false" if value is False else str(value)


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]
