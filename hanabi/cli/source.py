"""What a folder holds: which runtime and handler its files mean, and the folder as a zip file."""

import ast
import io
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hanabi.cli.failure import Failure

PYTHON, NODE, CUSTOM = "python3.13", "nodejs22.x", "provided.al2023"
SKIPPED_DIRECTORIES = {".git", ".hg", ".svn", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".aws-sam"}
SKIPPED_FILES = {".DS_Store"}
MAX_ZIP = 50 * 1024 * 1024  # Lambda's limit for a direct upload
_MODULES = ("lambda_function", "app", "handler", "main", "index")
_FUNCTIONS = ("lambda_handler", "handler", "main")
_SCRIPTS = tuple(f"{module}.{suffix}" for module in ("index", "app", "handler", "main") for suffix in ("mjs", "js", "cjs"))
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same folder gives the same CodeSha256


@dataclass(frozen=True, slots=True)
class Entry:
    """How a function is entered."""

    runtime: str
    handler: str


def detect(folder: Path) -> Entry:
    """The runtime and handler that the folder's files mean."""
    refuse_template(folder)
    bootstrap = folder / "bootstrap"
    if bootstrap.is_file():
        if not os.access(bootstrap, os.X_OK):
            raise Failure(f"{bootstrap} is not executable: chmod +x it", 2)
        return Entry(CUSTOM, "bootstrap")
    for module in _MODULES:
        path = folder / f"{module}.py"
        if path.is_file() and (function := _python_handler(path)):
            return Entry(PYTHON, f"{module}.{function}")
    for script in _SCRIPTS:
        if (folder / script).is_file():
            return Entry(NODE, f"{script.partition('.')[0]}.handler")
    raise Failure(
        f"{folder} holds no handler that is known by its name (lambda_function.py, app.py, index.mjs, index.js, bootstrap ...): "
        "give --runtime and --handler",
        2,
    )


def pack(folder: Path) -> bytes:
    """The folder as a zip file, the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in sorted(_files(folder, frozenset()), key=lambda found: found[1]):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise Failure(f"{path} is neither a file nor a directory", 2)
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (stat.S_IFREG | (0o755 if mode & 0o111 else 0o644)) << 16
            archive.writestr(info, path.read_bytes())
    if buffer.tell() > MAX_ZIP:
        raise Failure(f"{folder} makes a zip file of {buffer.tell() / 2**20:.0f} MB; Lambda takes 50 MB at most")
    return buffer.getvalue()


def _files(folder: Path, above: frozenset[Path]) -> Iterator[tuple[Path, str]]:
    """(file, name in the zip). Symlinks are followed, as `zip -r` does; `above` ends loops of them."""

    def walk(directory: Path, prefix: str, above: frozenset[Path]) -> Iterator[tuple[Path, str]]:
        above = above | {directory.resolve()}
        for path in directory.iterdir():
            if path.is_dir():
                if path.name not in SKIPPED_DIRECTORIES and path.resolve() not in above:
                    yield from walk(path, f"{prefix}{path.name}/", above)
            elif path.name not in SKIPPED_FILES:
                yield path, prefix + path.name

    return walk(folder, "", above)


def _python_handler(path: Path) -> str | None:
    """The first handler by a usual name that the module defines at its top level."""
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise Failure(f"{path}: {error}") from None
    names = set()
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return next((name for name in _FUNCTIONS if name in names), None)


def refuse_template(given: Path) -> None:
    """A folder with a SAM template in it, or such a template."""
    for path in (given, *(given / name for name in ("template.yaml", "template.yml", "template.json"))):
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file() and "AWS::Serverless" in path.read_text(errors="replace"):
            raise Failure(f"{path} is a SAM template, and deploying those is not yet possible; deploy the folder of one function", 2)
