"""Requests made of AWS's models, each with one thing wrong in it, and what the answer must say.

Written from the models alone, beside the validator of the edge and without its help.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from botocore.model import Shape

NUMBERS = ("integer", "long", "float", "double")
DEPTH = 4  # of structures, lists and maps
# Candidates for a member that has a pattern; the first that fits is taken.
SAMPLES = (
    *("a", "1", "aa", "value", "a.b", "/a/", "2026-01-01", "arn:aws:iam::000000000000:role/r", "$LATEST"),
    *("subnet-1", "sg-1", "vpc-1", "lambda:GetLayerVersion", "o-0123456789", "cp", "a@example.com", "kafka://a", "localhost:9092"),
    "arn:aws:lambda:us-east-1:000000000000:function:f",
    "arn:aws:lambda:us-east-1:000000000000:layer:l:1",
    "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0",
    "arn:aws:lambda:us-east-1:000000000000:capacity-provider:cp",
    "arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/0123456789",
    "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0",
    "/mnt/a",
    "arn:aws:sqs:us-east-1:000000000000:q",
    "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000",
    "arn:aws:s3:::b",
    "00000000-0000-0000-0000-000000000000",
    "000000000000.dkr.ecr.us-east-1.amazonaws.com/x:y",
    "000000000000",
)


@dataclass(frozen=True)
class Wrong:
    """One parameter to change, and the constraint that the answer names."""

    path: tuple[str | int, ...]  # into the parameters: ("VpcConfig", "SubnetIds", 0)
    value: Any  # MISSING: the member is left out
    at: str  # as messages name it: "vpcConfig.subnetIds"; empty: not said
    constraint: str  # a part of what the message says of it

    def __str__(self) -> str:
        value = repr(self.value)
        return f"{'.'.join(map(str, self.path))} = {value if len(value) < 60 else value[:60] + '...'}"


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


def wrongs(shape: Shape) -> Iterator[Wrong]:
    """All that can be wrong by the model: what is required missing, bounds missed by one, enumerations and patterns not met."""
    yield from _of_structure(shape, (), "", DEPTH)


def _of_structure(shape: Shape, path: tuple[str | int, ...], at: str, depth: int) -> Iterator[Wrong]:
    for name in shape.required_members:
        yield Wrong((*path, name), MISSING, _at(at, name), "Member must not be null")
    for name, member in shape.members.items():
        yield from _of_member(member, (*path, name), _at(at, name), depth)


def _of_member(shape: Shape, path: tuple[str | int, ...], at: str, depth: int) -> Iterator[Wrong]:
    for value, constraint in broken(shape):
        yield Wrong(path, value, at, constraint)
    if depth <= 1:
        return
    if shape.type_name == "structure" and not shape.serialization.get("eventstream"):
        yield from _of_structure(shape, path, at, depth - 1)
    elif shape.type_name == "list":
        if shape.member.type_name in ("structure", "list", "map"):
            yield from _of_member(shape.member, (*path, 0), f"{at}.1.member", depth - 1)
        else:
            for value, constraint in broken(shape.member):
                yield Wrong((*path, 0), value, at, constraint)
    elif shape.type_name == "map":
        for value, constraint in broken(shape.key):
            yield Wrong(path, {value: sample(shape.value)}, at, constraint)
        if shape.value.type_name not in ("structure", "list", "map"):
            for value, constraint in broken(shape.value):
                yield Wrong(path, {sample(shape.key): value}, at, constraint)


def broken(shape: Shape) -> Iterator[tuple[Any, str]]:
    """(a value that breaks one rule of a shape, what the message says of it)."""
    metadata, kind = shape.metadata, shape.type_name
    if kind in NUMBERS:
        number = float if kind in ("float", "double") else int
        if "min" in metadata:
            yield number(metadata["min"]) - 1, f"Member must have value greater than or equal to {number(metadata['min'])}"
        if "max" in metadata:
            yield number(metadata["max"]) + 1, f"Member must have value less than or equal to {number(metadata['max'])}"
    else:
        if int(metadata.get("min", 0)) > 0:
            yield _of_length(shape, int(metadata["min"]) - 1), f"Member must have length greater than or equal to {metadata['min']}"
        if "max" in metadata and int(metadata["max"]) <= 100_000:
            yield _of_length(shape, int(metadata["max"]) + 1), f"Member must have length less than or equal to {metadata['max']}"
    if kind == "string" and "enum" in metadata:
        yield "nothing-of-the-kind", "Member must satisfy enum value set: ["
    if kind == "string" and "pattern" in metadata:
        text = next((text for text in ("?", "\x00", "é\x00") if not fits(text, metadata["pattern"])), None)
        if text:
            yield text, "Member must satisfy regular expression pattern: "


def _of_length(shape: Shape, length: int) -> Any:
    if shape.type_name == "list":
        return [sample(shape.member) or _first_member(shape.member)] * length
    if shape.type_name == "map":
        return {f"{sample(shape.key)}{number}": sample(shape.value) for number in range(length)}
    return b"a" * length if shape.type_name == "blob" else "a" * length


def _first_member(shape: Shape) -> dict[str, Any]:
    """A structure that is not empty: in forms an empty one is nothing."""
    return next(({name: sample(member)} for name, member in shape.members.items()), {})


def sample(shape: Shape, depth: int = DEPTH) -> Any:
    """A value that a shape allows, as far as that can be made; of a structure, what is required."""
    kind, metadata = shape.type_name, shape.metadata
    least = int(metadata.get("min", 0)) if kind not in ("float", "double") else 0
    if kind in ("integer", "long", "timestamp"):
        return max(least, 1)
    if kind in ("float", "double"):
        return 0.5
    if kind == "boolean":
        return True
    if kind == "blob":
        return b"{}"
    if kind == "structure":
        return {name: sample(shape.members[name], depth - 1) for name in shape.required_members} if depth else {}
    if kind == "list":
        return [sample(shape.member, depth - 1)] * max(least, 1) if depth else []
    if kind == "map":
        return {f"{sample(shape.key)}": sample(shape.value, depth - 1)} if depth else {}
    if "enum" in metadata:
        return metadata["enum"][0]
    texts = [text for text in SAMPLES if least <= len(text) <= int(metadata.get("max", 1 << 20))]
    return next((text for text in texts if fits(text, metadata.get("pattern", ".*"))), "a" * max(least, 1))


def fits(text: str, pattern: str) -> bool:
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r"\s"), (r"[\w-_]", r"[\w\-_]")):
        pattern = pattern.replace(java, python)
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _at(path: str, name: str) -> str:
    return f"{path}.{name[:1].lower()}{name[1:]}" if path else f"{name[:1].lower()}{name[1:]}"


def put(params: dict[str, Any], shape: Shape, path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of parameters with one changed; what surrounds it is made where it is not there."""
    return _put(params, shape, path, value)  # type: ignore[no-any-return]


def _put(current: Any, shape: Shape, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        inner = _put(sample(shape.member), shape.member, rest, value)
        return [inner, *(current or [])[1:]]
    fields = dict(current if isinstance(current, dict) else sample(shape))
    if value is MISSING and not rest:
        fields.pop(step, None)
    else:
        fields[step] = _put(fields.get(step), shape.members[step], rest, value)
    return fields


# --- values of another type, on the wire of JSON ---------------------------------------------------------------------

JUNK: dict[str, tuple[Any, ...]] = {
    "string": (5, True, [], {}),
    "character": (5, True, [], {}),
    "integer": ("x", True, [], {}),
    "long": ("x", True, [], {}),
    "float": ("x", True, [], {}),
    "double": ("x", True, [], {}),
    "boolean": ("x", 5, [], {}),
    "blob": (5, True, [], {}, "no base64!"),
    "timestamp": (True, [], {}),
    "structure": ("x", 5, []),
    "list": ("x", 5, {}),
    "map": ("x", 5, []),
}


def junk(shape: Shape, depth: int = DEPTH) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(path on the wire, value of a wrong type) for each member that is in a JSON body."""
    payload = shape.serialization.get("payload")
    if payload:
        inner = shape.members[payload]
        if inner.type_name == "structure" and not inner.serialization.get("eventstream"):
            yield from junk(inner, depth)
        return
    for name, member in shape.members.items():
        if member.serialization.get("location") is not None:
            continue
        wire = member.serialization.get("name", name)
        yield from _junk_of(member, (wire,), depth)


def _junk_of(shape: Shape, path: tuple[str | int, ...], depth: int) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    for value in JUNK[shape.type_name]:
        yield path, value
    if depth <= 1:
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from _junk_of(member, (*path, member.serialization.get("name", name)), depth - 1)
    elif shape.type_name == "list":
        yield from _junk_of(shape.member, (*path, 0), depth - 1)
    elif shape.type_name == "map":
        yield from _junk_of(shape.value, (*path, "key"), depth - 1)


def put_json(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy of a JSON document with one value changed; what surrounds it is made."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return [put_json(None, rest, value)]
    fields = dict(document) if isinstance(document, dict) else {}
    fields[step] = put_json(fields.get(step), rest, value)
    return fields


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()
