"""Builds dataclasses of JSON values, each checked against its declared type. Raises `ValueError` with what is wrong."""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_END_MS = 253_402_300_800_000  # the year 10,000


def build(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from JSON values, checking each one's declared type."""
    need(isinstance(values, dict), f"has no object where {where} is expected")
    any_kind: Any = kind
    hints, required = _fields(any_kind)
    for name in values.keys() - hints.keys():
        raise ValueError(f"has a field that this Hanabi does not know: {name!r} in {where}")
    for name in required - values.keys():
        raise ValueError(f"lacks {name!r} in {where}")
    for name, value in values.items():
        need(_fits(value, hints[name]), f"has a value of the wrong type: {name!r} in {where}")
        need(not name.endswith("_ms") or 0 <= value < _END_MS, f"has a time that cannot be: {name!r} in {where}")
    return kind(**values)


@lru_cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(kind)
    known = {each.name: hints[each.name] for each in fields(kind)}
    return known, frozenset(each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return type(value) is int and abs(value) < 1 << 62
    if origin is tuple:
        return isinstance(value, tuple)
    if origin is not None:  # Mapping[str, X]
        return isinstance(value, Mapping) and all(_fits(key, arguments[0]) and _fits(each, arguments[1]) for key, each in value.items())
    return isinstance(value, hint)


def need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
