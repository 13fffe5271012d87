"""What each setting of each operation does: the declarations in hanabi/services/settings/, checked against AWS's models and the tests.

`python -m tests.structure.settings` prints the lines that are missing there, to be completed and entered.
"""

import ast
import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

from botocore.model import Shape

from hanabi.edge.protocols.model import load
from hanabi.services.listing import TABLES, listed_operations
from tests.structure.sources import ROOT

DIRECTORY = ROOT / "hanabi" / "services" / "settings"
EVERY = "every"
EFFECTS = ("effective", "no effect", "stored", "refused")


@dataclass(frozen=True)
class Setting:
    """A member of an operation's input, or a part of one: "Code.S3Bucket"."""

    operation: str
    member: str
    effect: str  # one of EFFECTS
    detail: str  # the test that shows the effect, or why there is none


@functools.cache
def declared(service: str) -> dict[str, dict[str, str]]:
    """A service's declarations: operation, or EVERY -> member -> "effect: detail"."""
    path = DIRECTORY / f"{service}.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def served(service: str) -> list[str]:
    return [each.operation for each in listed_operations() if each.service == service]


def members(service: str, operation: str) -> dict[str, Shape]:
    shape = load(service).operation(operation).input_shape
    return dict(shape.members) if shape else {}


def settings(service: str, operation: str) -> list[Setting]:
    """All settings of an operation that are declared, by name."""
    own, every = declared(service).get(operation, {}), declared(service).get(EVERY, {})
    said = {name: every[name] for name in members(service, operation) if name in every} | own
    return [Setting(operation, name, *_split(text)) for name, text in sorted(said.items())]


def missing(service: str) -> Iterator[tuple[str, str]]:
    """(operation, member) of what is served, but not declared."""
    for operation in served(service):
        said = {setting.member for setting in settings(service, operation)}
        yield from ((operation, name) for name in members(service, operation) if name not in said)


def faults(service: str) -> Iterator[str]:
    """What is wrong with the declarations, in words."""
    operations = served(service)
    tables = declared(service)
    for operation, name in missing(service):
        yield f"{service}.toml: [{operation}] has no line for {name}"
    for operation in operations:
        if operation not in tables:
            yield f"{service}.toml: there is no table [{operation}], though it is served"
    for table, lines in tables.items():
        if table == EVERY:
            known = {name for operation in operations for name in members(service, operation)}
        elif table in operations:
            known = set(members(service, table))
        else:
            yield f"{service}.toml: [{table}] is not served"
            continue
        for name, text in lines.items():
            place = f"{service}.toml: [{table}] {name}"
            if name.partition(".")[0] not in known or "." in name and not _has_part(service, table, name):
                yield f"{place} is no member of AWS's model"
            effect, detail = _split(text)
            if effect not in EFFECTS or not detail:
                yield f"{place}: write one of {', '.join(EFFECTS)}, a colon, and the test or the reason: {text!r}"
            elif effect == "effective" and not _is_test(detail):
                yield f"{place}: there is no such test below tests/: {detail}"


def all_faults() -> list[str]:
    return [fault for service in sorted(TABLES.keys() | {path.stem for path in DIRECTORY.glob("*.toml")}) for fault in _faults(service)]


def _faults(service: str) -> list[str]:
    return list(faults(service)) if service in TABLES else [f"{service}.toml: no such service is served"]


def _split(text: str) -> tuple[str, str]:
    effect, _, detail = text.partition(": ")
    return effect, detail.strip()


def _has_part(service: str, operation: str, dotted: str) -> bool:
    shape = load(service).operation(operation).input_shape
    for name in dotted.split("."):
        while shape is not None and shape.type_name in ("list", "map"):
            shape = shape.member if shape.type_name == "list" else shape.value
        if shape is None or shape.type_name != "structure" or name not in shape.members:
            return False
        shape = shape.members[name]
    return True


def _is_test(reference: str) -> bool:
    path, _, name = reference.partition("::")
    return name in _tests_in(path)


@functools.cache
def _tests_in(path: str) -> frozenset[str]:
    file = ROOT / "tests" / path
    if file.suffix != ".py" or not file.exists():
        return frozenset()
    functions = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


if __name__ == "__main__":
    for service in TABLES:
        for operation in served(service):
            lines = [name for owner, name in missing(service) if owner == operation]
            if lines or operation not in declared(service):
                print(f"# {service}.toml\n[{operation}]", *(f'{name} = "effective: "' for name in sorted(lines)), sep="\n")
