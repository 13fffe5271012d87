"""The repository's own files, as the structure tests read them."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    """Files that are, or are about to be, in the repository."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() if listed.returncode == 0 else [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py")]
    return [ROOT / name for name in names if not name.startswith((".venv/", "build/")) and (ROOT / name).is_file()]


def modules(*rooms: str) -> list[Path]:
    """Python modules below some top-level directories, empty ones aside."""
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in rooms and path.stat().st_size]


def room_of(module: str) -> str:
    """`hanabi.api.edge` -> `api`; `hanabi.node` -> `node`"""
    return module.split(".")[1]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of a module of Hanabi, in functions too; those for type checking only aside."""
    tree = ast.parse(path.read_text())
    typing_only = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("hanabi."))
        elif isinstance(node, ast.ImportFrom) and node.module == "hanabi":
            yield from ((node.lineno, f"hanabi.{alias.name}") for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hanabi."):
            yield node.lineno, str(node.module)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
