"""Builds dataclasses of JSON values, each checked against its declared type. Raises `ValueError` with what is wrong."""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Test = Callable[[Any], bool]
_END_MS = 253_402_300_800_000  # the year 10,000


def build(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from JSON values, checking each one's declared type."""
    need(isinstance(values, dict), f"has no object where {where} is expected")
    any_kind: Any = kind
    known, required, times = _fields(any_kind)
    for name, value in values.items():
        test = known.get(name)
        if test is None:
            raise ValueError(f"has a field that this Hanabi does not know: {name!r} in {where}")
        if not test(value):
            raise ValueError(f"has a value of the wrong type: {name!r} in {where}")
        if name in times and not 0 <= value < _END_MS:
            raise ValueError(f"has a time that cannot be: {name!r} in {where}")
    if not required <= values.keys():
        raise ValueError(f"lacks {min(required - values.keys())!r} in {where}")
    return kind(**values)


@lru_cache
def _fields(kind: Any) -> tuple[dict[str, Test], frozenset[str], frozenset[str]]:
    """Return (the test of each field's values, the fields without a default, those that are times)."""
    hints = get_type_hints(kind)
    known = {each.name: _test(hints[each.name]) for each in fields(kind)}
    required = frozenset(each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING)
    return known, required, frozenset(name for name in known if name.endswith("_ms"))


@lru_cache
def _test(hint: Any) -> Test:
    """Make the test of values for a declared type. Twenty thousand functions are tested at a start: their types are looked at once."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if origin in (Union, types.UnionType):
        tests = [_test(each) for each in arguments]
        return lambda value: any(test(value) for test in tests)
    if hint is float:
        return lambda value: type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return lambda value: type(value) is int and -(1 << 62) < value < 1 << 62
    if origin is tuple:
        return lambda value: isinstance(value, tuple)
    if origin is not None:  # Mapping[str, X]
        return _mapping_test(*map(_test, arguments))
    return lambda value: isinstance(value, hint)


def _mapping_test(key_test: Test, value_test: Test) -> Test:
    def test(value: Any) -> bool:
        return isinstance(value, Mapping) and all(key_test(key) and value_test(each) for key, each in value.items())

    return test


def need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
