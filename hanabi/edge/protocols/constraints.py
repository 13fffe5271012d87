"""The models' constraints, checked and reported in AWS's words.

    1 validation error detected: Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: x
    2 validation errors detected: Value '[X86_64]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: [...]

Wording and order follow answers recorded from AWS: a pattern comes before a length, and what is wrong with a scalar
in a list or map is reported of the whole list or map, together with everything its scalars must satisfy.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from botocore.model import Shape

from hanabi.edge.protocols.wording import PLAIN, Wording

Check = Callable[[Any, str, list[str]], None]  # (value, path, errors found so far)
Rule = tuple[str, Callable[[Any], bool]]  # what a member must do, and whether a value does

_NOT_NULL = "Member must not be null"
_NUMBERS = frozenset({"integer", "long", "float", "double"})
_CONTAINERS = frozenset({"structure", "list", "map"})
REMEMBERED = 256  # values of one shape, so long at most, that need not be checked again
REMEMBERED_CHARS = 256
LONGER = 4  # times what a member may have: what is longer still is not compared with the pattern
ERRORS = 100  # reported in one answer at most: a small request could cause very many
# Enumerations that Lambda checks later: with an error of its own and a list of what is still allowed, and those reported with that.
_LATER = frozenset({"Runtime", "CompatibleArchitectures"})


def summarise(errors: list[str]) -> str:
    noun = "validation error" if len(errors) == 1 else "validation errors"
    return f"{len(errors)} {noun} detected: {'; '.join(errors)}"


def say(value: Any, shape: Shape) -> str:
    """Format a value of a shape as Java prints it: `[a, b]`, `{key=a}`, `Name(member=a, other=null)`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(say(item, shape.member) for item in value)}]"
    if isinstance(value, dict):
        if shape.type_name == "map":
            return f"{{{', '.join(f'{key}={say(item, shape.value)}' for key, item in value.items())}}}"
        members = (f"{lower_first(name)}={say(value.get(name), member)}" for name, member in shape.members.items())
        return f"{shape.name}({', '.join(members)})"
    return str(value)


def lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a model's pattern, a Java one: character classes that Python lacks are spelt out."""
    if r"\p{" not in pattern:
        return re.compile(pattern.replace(r"[\w-_]", r"[\w\-_]"), re.ASCII)
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\w"), (r"\p{Z}", " \u00a0\u2000-\u200a\u2028\u2029\u202f\u3000")):
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def _say_pattern(pattern: str) -> str:
    """Format a pattern as Lambda does: alternatives `((a)|(b))` without the outer brackets."""
    return pattern[1:-1] if pattern.startswith("((arn") and pattern.endswith("))") else pattern


def as_listed(names: Sequence[str]) -> list[str]:
    """Order an enumeration of the model as AWS's messages do: a hash table of 32 buckets, in each of them the last one first.

    So all of them are that were recorded, of seven services; the hash is that of Java's strings.
    """
    return sorted(reversed(names), key=lambda name: functools.reduce(lambda hashed, character: 31 * hashed + ord(character), name, 0) % 32)


def format_rules(shape: Shape, wording: Wording = PLAIN) -> list[Rule]:
    """Make the rules of a value's format."""
    metadata = shape.metadata
    rules: list[Rule] = []
    if "pattern" in metadata:
        said = wording.patterns.get(shape.name, metadata["pattern"])
        patterns = [compile_pattern(each) for each in dict.fromkeys((metadata["pattern"], said))]
        most = LONGER * int(metadata["max"]) if "max" in metadata else sys.maxsize  # beyond, its length says enough
        rules.append(
            (
                f"Member must satisfy regular expression pattern: {_say_pattern(said)}",
                lambda value: len(value) > most or any(pattern.fullmatch(value) for pattern in patterns),
            )
        )
    if "enum" in metadata and shape.name not in _LATER:
        allowed = frozenset(metadata["enum"])
        listed = ", ".join(as_listed(metadata["enum"]))
        rules.append((f"Member must satisfy enum value set: [{listed}]", lambda value: value in allowed))
    return rules


def bound_rules(shape: Shape) -> list[Rule]:
    """Make the rules of a value's size."""
    metadata = shape.metadata
    what, measure = ("value", _itself) if shape.type_name in _NUMBERS else ("length", _length)
    number = float if shape.type_name in ("float", "double") else int
    rules: list[Rule] = []
    if "max" in metadata:
        most = number(metadata["max"])
        rules.append((f"Member must have {what} less than or equal to {most}", lambda value: measure(value) <= most))
    if "min" in metadata:
        least = number(metadata["min"])
        rules.append((f"Member must have {what} greater than or equal to {least}", lambda value: measure(value) >= least))
    return rules


def _itself(value: Any) -> Any:
    return value


def _length(value: Any) -> int:
    return value.stat().st_size if isinstance(value, Path) else len(value)


def _failed(value: str, path: str, constraint: str) -> str:
    return f"Value {value}at '{path}' failed to satisfy constraint: {constraint}"


class Constraints:
    """The checks of one service's shapes, compiled once each."""

    def __init__(self, wording: Wording = PLAIN) -> None:
        self.wording = wording
        self._checks: dict[str, Check | None] = {}

    def check(self, shape: Shape) -> Check | None:
        """Make the check of a shape; None for one without constraints."""
        name = shape.name
        if name not in self._checks:
            self._checks[name] = lambda value, path, errors: self._run(name, value, path, errors)  # a shape may contain itself
            self._checks[name] = self._make(shape)
        return self._checks[name]

    def _run(self, name: str, value: Any, path: str, errors: list[str]) -> None:
        check = self._checks[name]
        if check is not None:
            check(value, path, errors)

    def _make(self, shape: Shape) -> Check | None:
        checks = [_own(shape, self.wording)]
        if shape.type_name == "structure":
            checks.append(self._structure(shape))
        elif shape.type_name == "list" and shape.name not in _LATER:
            not_null = [] if shape.name in self.wording.nullable else [_NOT_NULL]
            checks.append(self._scalars(shape, shape.member, "Member must satisfy constraint", _itself, not_null))
            checks.append(self._containers(shape.member, lambda value: enumerate(value, 1)))
        elif shape.type_name == "map":
            checks.append(self._scalars(shape, shape.key, "Map keys must satisfy constraint", dict.keys, []))
            checks.append(self._scalars(shape, shape.value, "Map value must satisfy constraint", dict.values, [_NOT_NULL]))
            checks.append(self._containers(shape.value, dict.items))
        present = [check for check in checks if check is not None]
        return _all(present) if len(present) > 1 else next(iter(present), None)

    def _structure(self, shape: Shape) -> Check | None:
        required = [(name, lower_first(name)) for name in shape.required_members]
        checks = [(name, lower_first(name), check) for name, member in shape.members.items() if (check := self.check(member)) is not None]
        if not required and not checks:
            return None

        def check_members(value: Any, path: str, errors: list[str]) -> None:
            for name, at in required:
                if value.get(name) is None:
                    errors.append(_failed("null ", f"{path}.{at}" if path else at, _NOT_NULL))
            for name, at, inner in checks:
                item = value.get(name)
                if item is not None:
                    inner(item, f"{path}.{at}" if path else at, errors)

        return check_members

    def _scalars(
        self, container: Shape, member: Shape, preamble: str, items: Callable[[Any], Iterable[Any]], also: list[str]
    ) -> Check | None:
        """Make the check of scalars in a list or map: one error for the whole, with all rules of the scalars.

        Of structures, lists and maps in it: that none is null.
        """
        rules = [] if member.type_name in _CONTAINERS else bound_rules(member) + format_rules(member, self.wording)
        if not rules and not also:
            return None
        hidden = _is_hidden(container, self.wording) or _is_hidden(member, self.wording)
        constraint = f"{preamble}: [{', '.join([text for text, _ in rules] + also)}]"

        def check(value: Any, path: str, errors: list[str]) -> None:
            for item in items(value):
                if item is None or not all(holds(item) for _, holds in rules):
                    errors.append(_failed("" if hidden else f"'{say(value, container)}' ", path, constraint))
                    return

        return check

    def _containers(self, member: Shape, items: Callable[[Any], Iterable[tuple[Any, Any]]]) -> Check | None:
        """Make the check of structures, lists and maps in a list or map, each under its own path."""
        inner = self.check(member) if member.type_name in _CONTAINERS else None
        if inner is None:
            return None

        def check(value: Any, path: str, errors: list[str]) -> None:
            for key, item in items(value):
                if len(errors) >= ERRORS:
                    return
                if item is not None:
                    inner(item, f"{path}.{key}.member", errors)

        return check


def _all(checks: list[Check]) -> Check:
    def check(value: Any, path: str, errors: list[str]) -> None:
        for one in checks:
            one(value, path, errors)

    return check


def _is_hidden(shape: Shape, wording: Wording) -> bool:
    return bool(shape.metadata.get("sensitive")) or shape.type_name == "blob" or wording.hides_values or shape.name in wording.hidden


def _own(shape: Shape, wording: Wording) -> Check | None:
    """Make the check of a member itself: one error for each rule that it breaks."""
    rules = format_rules(shape, wording) + bound_rules(shape)
    if not rules:
        return None
    hidden = _is_hidden(shape, wording)
    good: set[str] = set()  # that have been checked: the same names come again and again

    def check(value: Any, path: str, errors: list[str]) -> None:
        if type(value) is str and len(value) <= REMEMBERED_CHARS:
            if value in good:
                return
            if all(holds(value) for _, holds in rules):
                if len(good) >= REMEMBERED:
                    good.clear()
                good.add(value)
                return
        for constraint, holds in rules:
            if not holds(value):
                errors.append(_failed("" if hidden else f"'{say(value, shape)}' ", path, constraint))

    return check
