"""Handlers of a folder: detected by usual file names, or checked when named."""

import ast
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hanabi.cli.failure import Failure

PYTHON, NODE, CUSTOM = "python3.13", "nodejs22.x", "provided.al2023"
_MODULES = ("lambda_function", "app", "handler", "main", "index")
_FUNCTIONS = ("lambda_handler", "handler", "main")
_SUFFIXES = ("mjs", "js", "cjs")
_SCRIPTS = tuple(f"{module}.{suffix}" for module in ("index", "app", "handler", "main") for suffix in _SUFFIXES)


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """The entry point of a function: runtime and handler."""

    runtime: str
    handler: str


def detect(folder: Path) -> EntryPoint:
    """Detect the runtime and handler from the folder's files."""
    bootstrap = folder / "bootstrap"
    if bootstrap.is_file():
        return EntryPoint(CUSTOM, "bootstrap")
    for module in _MODULES:
        path = folder / f"{module}.py"
        if path.is_file():
            names, _ = _top_level_names(path)
            if function := next((name for name in _FUNCTIONS if name in names), None):
                return EntryPoint(PYTHON, f"{module}.{function}")
    for script in _SCRIPTS:
        if (folder / script).is_file():
            return EntryPoint(NODE, f"{script.partition('.')[0]}.handler")
    raise Failure(
        f"{folder} holds no handler that is known by its name (lambda_function.py, app.py, index.mjs, index.js, bootstrap ...): "
        "give --runtime and --handler",
        2,
    )


def candidates(handlers: Iterable[str]) -> set[str]:
    """List the files that `detect` reads, and `missing` for these handlers."""
    stems = {*_MODULES, *(handler.rpartition(".")[0].replace(".", "/") for handler in handlers)}
    plain = {stem for stem in stems if stem and not stem.startswith("/") and ".." not in stem.split("/")}
    return {"bootstrap", *_SCRIPTS, *(f"{stem}{end}" for stem in plain for end in (".py", "/__init__.py"))}


def missing(entry: EntryPoint, folder: Path, names: Collection[str], *, layered: bool = False) -> str | None:
    """Return why the entry point cannot work; None if it may. `names` are the package's files, `folder` has its own ones.

    `layered`: what the package lacks may be in a layer.
    """
    if entry.runtime.startswith("provided"):
        return None if layered and "bootstrap" not in names else _missing_bootstrap(folder, names)
    if entry.handler in names:  # a program that a wrapper script starts, as the Web Adapter's does
        return None
    module, _, function = entry.handler.rpartition(".")
    if not module or not function:
        return f"the handler {entry.handler!r} has not the form FILE.FUNCTION"
    if entry.runtime.startswith("python"):
        return _missing_python(module, function, folder, names, layered=layered)
    if entry.runtime.startswith("nodejs"):
        scripts = [f"{module}.{suffix}" for suffix in _SUFFIXES]
        if not layered and not any(script in names for script in scripts):
            return f"there is no {' or '.join(scripts)} for the handler {entry.handler}"
    return None


def _missing_bootstrap(folder: Path, names: Collection[str]) -> str | None:
    if "bootstrap" not in names:
        return "there is no file bootstrap, which an OS-only runtime starts"
    path = folder / "bootstrap"
    if path.is_file() and not path.stat().st_mode & 0o111:
        return f"{path} is not executable: chmod +x it"
    return None


def _missing_python(module: str, function: str, folder: Path, names: Collection[str], *, layered: bool) -> str | None:
    stem = module.replace(".", "/")  # "src/app.handler" and "src.app.handler" are both usual
    files = [f"{stem}.py", f"{stem}/__init__.py"]
    found = [name for name in files if name in names]
    if not found:
        compiled = any(name.startswith(f"{stem}.") and name.endswith((".so", ".pyc")) for name in names)
        return None if compiled or layered else f"there is no {files[0]} for the handler {module}.{function}"
    path = folder / found[0]
    if not path.is_file():  # it came with a dependency
        return None
    defined, all_known = _top_level_names(path)
    if function in defined or not all_known:
        return None
    return f"{found[0]} defines no {function} for the handler {module}.{function}"


def _top_level_names(path: Path) -> tuple[set[str], bool]:
    """Return what a module defines at import, by its source, and whether that is all."""
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Failure(f"{path}: {str(error) or type(error).__name__}") from None
    names: set[str] = set()
    all_known = True
    for node in _statements(module.body):
        for name in _names_of(node):
            names.add(name)
            all_known = all_known and name not in ("*", "__getattr__")
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):  # globals().update(...), exec(...), setattr(...)
            called = ast.unparse(node.value.func)
            all_known = all_known and called.partition("(")[0] not in ("globals", "vars", "exec", "setattr")
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Subscript) for target in node.targets):
            all_known = False  # globals()["handler"] = ...
    return names, all_known


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Iterate over statements that run at import: in `try`, `if`, `with`, loops and `match` too."""
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from _statements(getattr(node, part, []))
        for inner in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            yield from _statements(inner.body)


def _names_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield from (each.id for each in ast.walk(target) if isinstance(each, ast.Name))
    elif isinstance(node, ast.AnnAssign):
        if isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.With | ast.AsyncWith):
        for item in node.items:
            if isinstance(item.optional_vars, ast.Name):
                yield item.optional_vars.id
