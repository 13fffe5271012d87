"""The one tree of errors: nothing that leaves a room is outside it."""

import ast

from hanabi.errors import HanabiError
from tests.structure.errors import SOURCE, exceptions, room, source
from tests.structure.sources import dotted, modules, room_of

SHARED = ("base", "contracts")  # whose exceptions all may see
# What leaves its room today, and should not. It only ever gets shorter.
KNOWN_LEAKS = {"hanabi.environment.outcome.InitFailed"}


def test_the_tree_shows_every_error() -> None:
    assert SOURCE.read_text() == source(), "run: python -m tests.structure.errors"


def test_what_is_outside_the_tree_stays_in_its_room() -> None:
    private = {f"{each.__module__}.{each.__name__}": room(each) for each in exceptions() if not issubclass(each, HanabiError)}
    leaks = set()
    for path in modules("hanabi"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                for name in (f"{node.module}.{alias.name}" for alias in node.names):
                    owner = private.get(name, "")
                    if owner and owner not in SHARED and room_of(dotted(path)) != owner:
                        leaks.add(name)
    assert leaks <= KNOWN_LEAKS
