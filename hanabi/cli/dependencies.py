"""Installs a folder's dependencies for the runtime's platform, as `sam build` does; keeps them in a cache."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from hanabi.cli import local_packages
from hanabi.cli.failure import Failure

KEPT = 12  # trees in the cache
LIMIT_S = 900.0  # of one program
_GLIBC = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17")  # that wheels may be made for: Amazon Linux 2023 has 2.34
_MANIFESTS = ("package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc")
_NOISE = re.compile(r"npm (?:error|ERR!) (?:A complete log|\S*/_logs/|path )|\[notice\]")  # of what installers say, not the reason

Say = Callable[[str], None]


def install(folder: Path, runtime: str, say: Say) -> Path | None:
    """Return a folder with the dependencies of `folder`; None if it declares none. `say` gets progress messages."""
    if runtime.startswith("python"):
        return _install_python(folder, runtime.removeprefix("python"), say)
    if runtime.startswith("nodejs"):
        return _install_node(folder, say)
    return None


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hanabi" / "dependencies"


# --- Python -----------------------------------------------------------------------------------------------------------


def _install_python(folder: Path, version: str, say: Say) -> Path | None:
    requirements = folder / "requirements.txt"
    if requirements.is_file():
        text = requirements.read_text(errors="replace")
        arguments = ["-r", str(requirements.resolve())]
    else:
        wanted = _project_dependencies(folder / "pyproject.toml")
        text, arguments = "\n".join(wanted), wanted
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return None
    texts = [text, *_included(requirements)]
    key = _key("python", version, platform.machine(), *texts, local_packages.digest(local_packages.python_paths(folder, texts)))

    def make(target: Path) -> None:
        say(f"installing what {'requirements.txt' if requirements.is_file() else 'pyproject.toml'} names, for Python {version}")
        if (uv := shutil.which("uv")) is not None:
            machine = f"{platform.machine()}-manylinux_2_34"
            command = [uv, "pip", "install", "--quiet", "--target", str(target), "--python-version", version]
            _run([*command, "--python-platform", machine, *arguments], folder)
        else:
            _install_with_pip(target, version, arguments, folder)
        shutil.rmtree(target / "bin", ignore_errors=True)
        for cached in target.rglob("__pycache__"):
            shutil.rmtree(cached, ignore_errors=True)

    return _cached(key, make)


def _install_with_pip(target: Path, version: str, arguments: Sequence[str], folder: Path) -> None:
    machine = platform.machine()
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBC] + [f"manylinux2014_{machine}", f"linux_{machine}"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "install", "--quiet", "--target", str(target), "--implementation", "cp", "--python-version", version]
    command += [word for each in platforms for word in ("--platform", each)] + ["--only-binary=:all:"]
    try:
        _run([*command, *arguments], folder)
    except Failure:
        # Something has no wheel. What is pure Python is built here; what is not fits only where the versions are the same.
        with tempfile.TemporaryDirectory(prefix="hanabi-wheels-") as wheels:
            _run([*pip, "wheel", "--quiet", "--wheel-dir", wheels, *arguments], folder)
            shutil.rmtree(target)
            target.mkdir()
            _run([*command, "--find-links", wheels, *arguments], folder)


def _project_dependencies(path: Path) -> list[str]:
    try:
        project = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return []
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {error}", 2) from None
    if "dependencies" not in project.get("project", {}) and project.get("tool", {}).get("poetry", {}).get("dependencies"):
        raise Failure(f"{path} names its dependencies for Poetry only: poetry export -o requirements.txt, or give --no-build", 2)
    return [str(each) for each in project.get("project", {}).get("dependencies", [])]


def _included(requirements: Path) -> list[str]:
    """Read the files that a requirements file includes: they are part of the cache key."""
    if not requirements.is_file():
        return []
    found = re.findall(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]\s*(\S+)", requirements.read_text(errors="replace"), re.MULTILINE)
    return [path.read_text(errors="replace") for each in found if (path := requirements.parent / each).is_file()]


# --- Node.js ----------------------------------------------------------------------------------------------------------


def _install_node(folder: Path, say: Say) -> Path | None:
    manifest = folder / "package.json"
    if not manifest.is_file():
        return None
    package = local_packages.read_manifest(manifest)
    whole = local_packages.needs_folder(package)
    if not whole and not any(package.get(section) for section in ("dependencies", "optionalDependencies")):
        return None
    npm = shutil.which("npm")
    if npm is None:
        if (folder / "node_modules").is_dir():
            return None
        raise Failure(f"{manifest} names dependencies, and there is no npm to install them: install Node.js, or give --no-build", 2)
    texts = [(folder / name).read_text(errors="replace") for name in _MANIFESTS if (folder / name).is_file()]
    folder = folder.resolve()
    paths = local_packages.node_paths(folder, package)
    if whole or paths:
        texts.append(local_packages.digest([folder, *paths]))

    def make(target: Path) -> None:
        say("installing what package.json names")
        if not whole and not paths:
            for name in _MANIFESTS:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, target / name)
            _run_npm(npm, target)
        else:
            with tempfile.TemporaryDirectory(prefix="hanabi-npm-") as scratch:
                copy = local_packages.NodeCopy(folder, paths, Path(scratch).resolve())
                _run_npm(npm, copy.folder)
                copy.take(target)
        for name in _MANIFESTS:
            (target / name).unlink(missing_ok=True)  # the folder's own go along
        (target / "node_modules" / ".package-lock.json").unlink(missing_ok=True)

    return _cached(_key("node", platform.machine(), *texts), make)


def _run_npm(npm: str, folder: Path) -> None:
    local_packages.drop_development_scripts(folder / "package.json")
    locked = (folder / "package-lock.json").exists() or (folder / "npm-shrinkwrap.json").exists()
    _run([npm, "ci" if locked else "install", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"], folder)


# --- the cache --------------------------------------------------------------------------------------------------------


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]


def _cached(key: str, make: Callable[[Path], None]) -> Path:
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / key
    if final.is_dir():
        os.utime(final)
        return final
    incoming = Path(tempfile.mkdtemp(prefix="incoming-", dir=directory))
    try:
        make(incoming)
        incoming.chmod(0o755)
        try:
            incoming.rename(final)
        except OSError:  # another deploy was quicker
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    others = sorted((each for each in directory.iterdir() if not each.name.startswith("incoming-")), key=lambda each: each.stat().st_mtime)
    for old in others[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{Path(command[0]).name} had not ended after {LIMIT_S:.0f} s") from None
    if done.returncode:
        said = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip() and not _NOISE.match(line)]
        raise Failure(f"{Path(command[0]).name} could not install the dependencies: {' '.join(said[-6:])[-800:] or done.returncode}")
