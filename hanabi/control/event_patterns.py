"""Event patterns, as the filters of event source mappings have them: whether one is well formed.

The rules are EventBridge's: "Amazon EventBridge event patterns", and "Lambda event filtering" of the AWS Lambda developer guide.
"""

import json
from collections.abc import Callable
from typing import Any

from hanabi.control.values import need


def check_pattern(text: str) -> None:
    """Raise `ValueError` for a text that is no pattern."""
    try:
        pattern = json.loads(text)
        need(isinstance(pattern, dict), "a pattern is an object")
        _check_fields(pattern)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_fields(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if name == "$or" and isinstance(value, list) and len(value) > 1 and all(isinstance(each, dict) for each in value):
            for each in value:
                _check_fields(each)
        elif isinstance(value, dict):
            _check_fields(value)
        else:
            need(isinstance(value, list) and bool(value), "a field has an object, or a list of what it may be")
            for each in value:
                need(not isinstance(each, list), "a list has values and operators")
                if isinstance(each, dict):
                    _check_operator(each)


def _check_operator(operator: dict[str, Any]) -> None:
    need(len(operator) == 1, "an operator has one name")
    ((name, value),) = operator.items()
    need(name in _OPERATORS and _OPERATORS[name](value), f"no operator: {name}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_affix(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, dict) and value.keys() == {"equals-ignore-case"} and _is_text(value["equals-ignore-case"]))


def _is_excluded(value: Any) -> bool:
    """Whether it may be the value of anything-but."""
    if isinstance(value, dict):
        ((name, inner),) = value.items() if len(value) == 1 else ((None, None),)
        return name in ("prefix", "suffix", "equals-ignore-case", "wildcard") and (_is_text(inner) or _are(_is_text, inner))
    return _is_text(value) or _is_number(value) or _are(_is_text, value) or _are(_is_number, value)


def _are(kind: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(kind, value))


def _is_range(value: Any) -> bool:
    """Whether it is one comparison, or a lower and an upper one."""
    if not isinstance(value, list) or len(value) not in (2, 4) or not all(_is_number(bound) for bound in value[1::2]):
        return False
    return value[0] in ("=", "<", "<=", ">", ">=") if len(value) == 2 else value[0] in (">", ">=") and value[2] in ("<", "<=")


_OPERATORS: dict[str, Callable[[Any], bool]] = {
    "prefix": _is_affix,
    "suffix": _is_affix,
    "equals-ignore-case": _is_text,
    "wildcard": _is_text,
    "anything-but": _is_excluded,
    "numeric": _is_range,
    "exists": lambda value: isinstance(value, bool),
    "cidr": _is_text,
}
