"""The bundled runtime is for every Python of Lambda's, from 3.9: its syntax, and what is evaluated when it is loaded."""

import ast
from pathlib import Path

import pytest

from hanabi.node.config import guest_dir

OLDEST = (3, 9)
FILES = sorted(guest_dir().joinpath("python").rglob("*.py"))


def is_union(node: ast.AST | None) -> bool:
    return node is not None and any(isinstance(each, ast.BinOp) and isinstance(each.op, ast.BitOr) for each in ast.walk(node))


def annotations_of(tree: ast.AST) -> list[ast.AST | None]:
    found: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(node.returns)
        if isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_oldest_python_can_load_it(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=OLDEST)
    is_deferred = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert is_deferred or not any(map(is_union, annotations_of(tree))), "from __future__ import annotations"
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id == "isinstance":
            assert not is_union(call.args[1]), f"line {call.lineno}: isinstance with a tuple"
