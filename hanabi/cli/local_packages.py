"""Local dependencies of a folder, not from a registry: their cache key, and the copy that npm works on."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.source import SKIPPED_DIRECTORIES

_LEFT_OUT = {*SKIPPED_DIRECTORIES, "node_modules"}
_DEPENDENCIES = ("dependencies", "optionalDependencies")
_SCRIPTS = ("preinstall", "install", "postinstall")  # of the folder's own package, which npm runs when it installs
_DEVELOPMENT = ("prepare", "prepublish", "preprepare", "postprepare")  # npm runs them, too, without what they need
_EXTRAS = re.compile(r"\[[\w,\s.-]*\]$")


def python_paths(folder: Path, texts: Iterable[str]) -> list[Path]:
    """List the local files and directories in requirements: `./lib`, `-e ../shared`, `name @ file:///x`, `--find-links wheels`."""
    found = []
    for line in "\n".join(texts).splitlines():
        for word in re.split(r"[\s=]+", line.partition(";")[0].partition(" #")[0]):
            path = folder / _EXTRAS.sub("", word.removeprefix("file://"))
            if (word.startswith((".", "/")) or "/" in word or word.endswith(".whl")) and path.exists():
                found.append(path)
    return found


def node_paths(folder: Path, manifest: dict[str, Any]) -> list[Path]:
    """List the local directories and archives of a `package.json`, and theirs."""
    found: list[Path] = []

    def look(base: Path, package: dict[str, Any]) -> None:
        for section in _DEPENDENCIES:
            for spec in _mapping(package.get(section)).values():
                if not isinstance(spec, str) or not spec.startswith(("file:", "./", "../", "/")):
                    continue
                path = Path(os.path.normpath(base / spec.removeprefix("file:")))
                if not path.exists():
                    raise Failure(f"{base / 'package.json'}: {spec} is not there", 2)
                if path not in found:
                    found.append(path)
                    look(path, read_manifest(path / "package.json"))

    look(folder, manifest)
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a `package.json`; empty when missing."""
    try:
        return _mapping(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise Failure(f"{path}: {error}", 2) from None


def needs_folder(manifest: dict[str, Any]) -> bool:
    """Whether installing it needs the folder's own files too."""
    scripts = _mapping(manifest.get("scripts"))
    return "workspaces" in manifest or any(name in scripts for name in _SCRIPTS)


def digest(paths: Iterable[Path]) -> str:
    """Hash these files and directories, without what was installed or built there."""
    total = hashlib.sha256()
    for path in paths:
        for name, file in _files(path):
            total.update(f"\0{name}\0{file.stat().st_mode & 0o111}\0".encode(errors="surrogateescape"))
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


class NodeCopy:
    """A copy of the folder and its local dependencies, with the same relative paths."""

    def __init__(self, folder: Path, paths: list[Path], scratch: Path) -> None:
        top = Path(os.path.commonpath([folder, *paths]))
        self.folder = scratch / folder.relative_to(top)
        for path in (folder, *paths):
            for name, file in _files(path):
                _copy(file, scratch / path.relative_to(top) / name)
        self._before = self._state()

    def take(self, target: Path) -> None:
        """Move what was installed or built to `target`, without unchanged files of the folder."""
        for name, state in self._state().items():
            if self._before.get(name) != state:
                _copy(self.folder / name, target / name)
        modules = self.folder / "node_modules"
        if modules.is_dir():
            shutil.copytree(modules, target / "node_modules", ignore=_unusable)

    def _state(self) -> dict[str, tuple[int, int]]:
        return {name: ((details := file.stat()).st_size, details.st_mtime_ns) for name, file in _files(self.folder)}


def drop_development_scripts(manifest: Path) -> None:
    """Remove scripts like `prepare`: they set up a developer's clone and need packages that a function does not get (`husky`)."""
    package = read_manifest(manifest)
    scripts = _mapping(package.get("scripts"))
    if any(name in scripts for name in _DEVELOPMENT):
        package["scripts"] = {name: line for name, line in scripts.items() if name not in _DEVELOPMENT}
        manifest.write_text(json.dumps(package, indent=2))


def _unusable(directory: str, names: list[str]) -> list[str]:
    """Find broken links, and links to a directory that contains them: local packages may depend on each other."""
    above = {os.path.realpath(each) for each in (Path(directory), *Path(directory).parents)}

    def unusable(path: str) -> bool:
        return os.path.islink(path) and (not os.path.exists(path) or os.path.realpath(path) in above)

    return [name for name in names if unusable(os.path.join(directory, name))]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield "", path
        return
    for directory, directories, names in os.walk(path):
        directories[:] = sorted(name for name in directories if name not in _LEFT_OUT)
        for name in sorted(names):
            file = Path(directory, name)
            if file.is_file():
                yield str(file.relative_to(path)), file


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
