"""A handler's result as JSON, as Lambda encodes it: Decimals as numbers, named tuples as objects, bytes as text."""

import json
import sys
from decimal import Decimal
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

ASCII = sys.version_info < (3, 12)  # AWS's runtimes of Python 3.12 and later write other letters as they are
_quick = json.JSONEncoder(ensure_ascii=ASCII).encode
_quote = encode_basestring_ascii if ASCII else encode_basestring
_SCALARS = frozenset({str, int, float, bool, type(None)})


def encode_text(value: Any) -> str:
    """Raises `TypeError` or `ValueError` for what JSON cannot say."""
    if _is_plain(value):
        try:
            return _quick(value)
        except TypeError:
            pass
    return _encode(value, set())


def _is_plain(value: Any) -> bool:
    """Whether the standard encoder agrees with Lambda's about every container in here; what it refuses, it refuses later."""
    if type(value) in _SCALARS:
        return True
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is not dict and kind is not list and kind is not tuple:
            return False
        if id(item) not in seen:
            seen.add(id(item))
            waiting += [part for part in (item.values() if kind is dict else item) if type(part) not in _SCALARS]
    return True


def _encode(value: Any, open_ids: set[int]) -> str:
    """The slow and exact way. `open_ids`: the containers around this value."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, bytes):
        return _quote(str(value, "utf-8"))
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _quick(float(value))
    if isinstance(value, Decimal):
        return "NaN" if value.is_nan() else str(value)
    if id(value) in open_ids:
        raise ValueError("Circular reference detected")
    open_ids.add(id(value))
    if callable(as_dict := getattr(value, "_asdict", None)):
        value_text = _encode(as_dict(), open_ids)
    elif isinstance(value, (list, tuple)):
        value_text = f"[{', '.join([_encode(item, open_ids) for item in value])}]"
    elif isinstance(value, dict):
        value_text = f"{{{', '.join([f'{_quote(_key(key))}: {_encode(item, open_ids)}' for key, item in value.items()])}}}"
    else:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    open_ids.discard(id(value))
    return value_text


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return str(key, "utf-8")
    if key is None or isinstance(key, (int, float)):
        return _encode(key, set())
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")
