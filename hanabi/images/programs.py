"""Running the programs that make roots: their failures become an `ImageError` that quotes them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from hanabi.errors import ImageError

TIMEOUT_S = 1800.0  # for one program; a slow mirror is slow
SEARCHED = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
QUOTED = 1500  # characters of what a failed program said


def run(
    command: Sequence[str | Path],
    *,
    lock: int,
    cwd: Path | None = None,
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program to its end, its standard output going to a file if one is given. Raises `ImageError`.

    `lock` stays open in the program, so that the lock outlives a builder that was killed while its program runs on.
    """
    name = os.path.basename(command[0])
    with tempfile.TemporaryFile() as said, open(output or os.devnull, "wb") as stdout:
        try:
            status = subprocess.run(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=stdout if output else said,
                stderr=said,
                env={**_environment(), **(environment or {})},
                pass_fds=(lock,),
                timeout=TIMEOUT_S,
            ).returncode
        except FileNotFoundError:
            raise ImageError(f"{name} is not installed") from None
        except subprocess.TimeoutExpired:
            raise ImageError(f"{name} did not end within {TIMEOUT_S:.0f} s") from None
        if status:
            said.seek(max(0, said.seek(0, os.SEEK_END) - QUOTED))
            raise ImageError(f"{name} failed with status {status}:\n{said.read().decode(errors='replace').strip()}")


def _environment() -> dict[str, str]:
    """Ours, without what would change how the tools work; sbin is not on every user's PATH."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NODE_OPTIONS", "LC_"))}
    return {**ours, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive", "PATH": SEARCHED}


def need(program: str, package: str) -> None:
    """Raises `ImageError` with the fix when a program is not there."""
    if not shutil.which(program, path=SEARCHED):
        raise ImageError(f"{program} is not installed: sudo apt-get install {package}")


def inside(root: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs a program of a root inside it; an ordinary user becomes root of a user namespace for it."""
    who = () if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user")
    chroot = shutil.which("chroot", path=SEARCHED) or "chroot"
    return [*who, chroot, str(root), "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *command]


def enter(root: Path, command: Sequence[str], *, lock: int) -> None:
    """Run a program of a root inside it. Raises `ImageError`."""
    run(inside(root, command), lock=lock)
