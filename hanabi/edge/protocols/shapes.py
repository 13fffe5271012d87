"""Values of the models' shapes, from and to JSON. Each shape is compiled once into a pair of functions."""

import base64
import binascii
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.model import Shape

from hanabi.errors import SerializationError

Convert = Callable[[Any], Any]

# As recorded on AWS: floci pull request 2686 (a rest-json service), aws-sdk-js-v3 issues 4080 and 7215, sidecar issue 148 (Lambda).
_JSON_NAMES: dict[type, str] = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE"}
_NOT_EXPECTED: dict[type, str] = {
    list: "Start of list found where not expected",
    dict: "Start of structure or map found where not expected.",
}


def _mismatch(value: Any, wanted: str) -> SerializationError:
    """The error of a value where a scalar is expected: `wanted`, as Java names it."""
    if type(value) in _NOT_EXPECTED:
        return SerializationError(_NOT_EXPECTED[type(value)])
    article = "an" if wanted[0] in "AEIOU" else "a"
    name = f"{str(value).upper()}_VALUE" if isinstance(value, bool) else _JSON_NAMES.get(type(value), "VALUE")
    return SerializationError(f"{name} can not be converted to {article} {wanted}")


def _not_a(value: Any, expected: str) -> SerializationError:
    """The error of a value where a structure, list or map is expected."""
    return SerializationError(_NOT_EXPECTED.get(type(value), expected))


# --- timestamps -------------------------------------------------------------------------------------------------------


def to_datetime(value: float | datetime) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def to_unix(value: float | datetime) -> float | int:
    seconds = to_datetime(value).timestamp() if isinstance(value, datetime) else value
    return int(seconds) if seconds == int(seconds) else round(seconds, 3)


def to_iso(value: float | datetime) -> str:
    moment = to_datetime(value).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{moment.microsecond // 1000:03d}Z" if moment.microsecond >= 1000 else "Z")


def from_iso(text: str) -> float:
    try:
        return to_datetime(datetime.fromisoformat(text)).timestamp()
    except (ValueError, OverflowError):
        raise SerializationError(f"Invalid timestamp: {text[:40]}") from None


# --- from JSON --------------------------------------------------------------------------------------------------------


def parse_string(value: Any) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, "String")
    return value if value.isascii() else whole(value)


def whole(text: str) -> str:
    """A text that UTF-8 can hold: half a character of JSON (`\\ud800` alone) becomes a question mark, as in Java."""
    return text.encode("utf-8", "replace").decode()


def parse_integer(value: Any) -> int:
    return _parse_whole(value, "Integer")


def parse_long(value: Any) -> int:
    return _parse_whole(value, "Long")


def _parse_whole(value: Any, wanted: str) -> int:
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(value, wanted)
    return value


def parse_double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _mismatch(value, "Double")
    try:
        number = float(value)
    except OverflowError:
        raise _mismatch(value, "Double") from None
    if not math.isfinite(number):
        raise _mismatch(value, "Double")
    return number


def parse_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _mismatch(value, "Boolean")
    return value


def parse_blob(value: Any) -> bytes | Path:
    if isinstance(value, Path):  # a large one, decoded already: see `uploads`
        return value
    if not isinstance(value, str):
        raise _mismatch(value, "Blob")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise SerializationError("Invalid base64 in a blob") from None


def parse_timestamp(value: Any) -> float:
    return from_iso(value) if isinstance(value, str) else parse_double(value)


_SCALARS: dict[str, tuple[Convert, Convert]] = {
    "string": (parse_string, str),
    "character": (parse_string, str),
    "integer": (parse_integer, int),
    "long": (parse_long, int),
    "float": (parse_double, float),
    "double": (parse_double, float),
    "boolean": (parse_boolean, bool),
    "blob": (parse_blob, lambda value: base64.b64encode(value).decode()),
    "timestamp": (parse_timestamp, to_unix),
}


class JsonShapes:
    """The JSON form of one service's shapes."""

    def __init__(self) -> None:
        self._parsers: dict[str, Convert] = {}
        self._renderers: dict[str, Convert] = {}

    def parser(self, shape: Shape) -> Convert:
        """Make a function from JSON value to parameter. Unknown members and nulls are dropped, as AWS does."""
        return self._compiled(self._parsers, shape, self._make_parser)

    def renderer(self, shape: Shape) -> Convert:
        """Make a function from result to JSON value. Unknown members and Nones are dropped."""
        return self._compiled(self._renderers, shape, self._make_renderer)

    def _compiled(self, cache: dict[str, Convert], shape: Shape, make: Callable[[Shape], Convert]) -> Convert:
        if shape.name not in cache:
            cache[shape.name] = lambda value: cache[shape.name](value)  # until made: a shape may contain itself
            cache[shape.name] = make(shape)
        return cache[shape.name]

    def _make_parser(self, shape: Shape) -> Convert:
        if shape.type_name in _SCALARS:
            return _SCALARS[shape.type_name][0]
        if shape.type_name == "list":
            return _list_parser(self.parser(shape.member))
        if shape.type_name == "map":
            return _map_parser(self.parser(shape.value))
        return structure_parser(
            [(name, member.serialization.get("name", name), self.parser(member)) for name, member in shape.members.items()]
        )

    def _make_renderer(self, shape: Shape) -> Convert:
        if shape.type_name == "timestamp" and shape.serialization.get("timestampFormat") == "iso8601":
            return to_iso
        if shape.type_name in _SCALARS:
            return _SCALARS[shape.type_name][1]
        if shape.type_name == "list":
            item = self.renderer(shape.member)
            return lambda value: [item(element) for element in value]
        if shape.type_name == "map":
            entry = self.renderer(shape.value)
            return lambda value: {key: entry(element) for key, element in value.items()}
        return structure_renderer(
            [(name, member.serialization.get("name", name), self.renderer(member)) for name, member in shape.members.items()]
        )


def structure_parser(members: list[tuple[str, str, Convert]]) -> Convert:
    """Make the parser of a structure from its (member name, name on the wire, convert)."""

    def parse(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _not_a(value, "Unexpected field type" if value is None else "Expected null")
        return {name: convert(value[wire]) for name, wire, convert in members if value.get(wire) is not None}

    return parse


def structure_renderer(members: list[tuple[str, str, Convert]]) -> Convert:
    def render(value: Any) -> dict[str, Any]:
        return {wire: convert(value[name]) for name, wire, convert in members if value.get(name) is not None}

    return render


def _list_parser(item: Convert) -> Convert:
    def parse(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _not_a(value, "Expected list or null")
        return [None if element is None else item(element) for element in value]

    return parse


def _map_parser(entry: Convert) -> Convert:
    def parse(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _not_a(value, "Expected map or null")
        return {whole(key): None if element is None else entry(element) for key, element in value.items()}

    return parse
