"""The README as a reader follows it: every block in its order, in one shell with nothing exported, on the default and on another port."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import leftovers
from tests.conftest import needs_root
from tests.server import IMAGES, ORPHANS, READY_S, STOP_S, free_port
from tests.system.readme.sessions import ROOT, as_typed, blocks
from tests.system.test_process_isolation import UID, interpreter
from tests.waiting import wait_for

pytestmark = needs_root
DEFAULT = 9555
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# In a mount namespace of its own /var/lib/hanabi is a new directory, so that root's own state is neither used nor in the way.
FRESH = """
mount --bind "$IMAGES" "$STATE/images" && mkdir -p /var/lib/hanabi && mount --rbind "$STATE" /var/lib/hanabi || exit
unset IMAGES STATE
exec "$@"
"""

# Where a Python lies in a directory that bars other users, that directory is one that shows nothing else, there.
SHOWN = """
prefix=$0 barred=$1 aside=$2 && shift 2 || exit
if [ -n "$barred" ]; then
    mount --bind "$prefix" "$aside" && mount -t tmpfs -o mode=755 none "$barred" || exit
    mkdir -p "$prefix" && mount --bind "$aside" "$prefix" || exit
fi
exec "$@"
"""


class Scene:
    """A machine with a checkout that was installed for use, and a user with `aws`, and a `python3` that has boto3."""

    def __init__(self, place: Path, python: str = sys.executable, packages: str = "", tools: str = SYSTEM) -> None:
        self.place = place
        self.home, self.checkout, self.state = place / "home", place / "checkout", place / "state"
        for directory in (self.home, self.checkout, self.state, self.state / "images", place / "run"):
            directory.mkdir(mode=0o755)
        (self.state / "run").symlink_to(place / "run")  # by its path a run is told from others on the host
        (self.checkout / "examples").symlink_to(ROOT / "examples")
        with_packages = f"PYTHONPATH={ROOT}:{packages} " if packages else ""
        self._program("checkout/.venv/bin/hanabi", f'{with_packages}exec {python} -m hanabi "$@"', f"cd {ROOT}" * (not packages))
        self._program("checkout/.venv/bin/python3", f'exec {python} -S "$@"')  # as `make install` leaves it: it has no boto3
        self._program("tools/python3", f'{with_packages}exec {python} "$@"')
        self._program("tools/aws", f'{with_packages}exec {python} -m awscli "$@"')
        self.variables = {"HOME": str(self.home), "PATH": f"{place}/tools:{tools}"}

    def _program(self, name: str, *lines: str) -> None:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["#!/bin/sh", *lines[1:], lines[0]]) + "\n")
        path.chmod(0o755)

    def inside(self, command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The command as it is run there, with its variables."""
        wrapped = ["unshare", "--mount", "--propagation", "private", "sh", "-c", FRESH, "sh", *command]
        return wrapped, self.variables | {"IMAGES": str(IMAGES), "STATE": str(self.state)}

    def shell(self, script: str) -> str:
        """What one shell prints; fails with all of it when a line of the script does."""
        command, variables = self.inside(["bash", "-euo", "pipefail", "-c", script])
        done = subprocess.run(command, cwd=self.checkout, env=variables, capture_output=True, text=True, timeout=500)
        log = (self.place / "server.log").read_text()[-3000:]
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}\n--- server\n{log}"
        return done.stdout

    def serve(self, command: Sequence[str], cwd: Path = ROOT) -> "subprocess.Popen[bytes]":
        """Returns when it serves; the caller ends it."""
        wrapped, variables = self.inside(command)
        log = self.place / "server.log"
        with log.open("wb") as file:
            server = subprocess.Popen(wrapped, cwd=cwd, env=variables, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        wait_for(lambda: "\nhanabi ready" in f"\n{log.read_text()}" or server.poll() is not None, READY_S * 5)
        if server.poll() is not None:
            pytest.fail(f"it did not start:\n{log.read_text()[-4000:]}")
        return server


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hanabi-readme-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def follow(scene: Scene, server: "subprocess.Popen[bytes]") -> None:
    """All blocks but the first, which starts the server."""
    try:
        script = "\n".join(map(as_typed, blocks()[1:]))
        output = scene.shell(f'{script}\ncase "$PWD" in /tmp/tmp.*) rm -r "$PWD" ;; esac\n')
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(STOP_S)
        finally:
            leftovers.reap(*ORPHANS)
    for expected in ('"message": "Hi, hanabi!"', "greeting hanabi", '"body": "{\\"area\\": 42}"', "The area is 42", "adding [20, 22]"):
        assert expected in output, output
    assert "42" in output.splitlines() and output.count("REPORT RequestId: ") >= 3
    assert any(line.startswith("total") for line in output.splitlines())


def test_the_first_block_is_what_the_others_here_stand_for() -> None:
    assert [line.partition("#")[0].strip() for line in blocks()[0][1].splitlines()] == ["make up", "make test"]


@pytest.mark.parametrize("port", [DEFAULT, 0], ids=["default", "another"])
def test_as_root(place: Path, port: int) -> None:
    if port == DEFAULT and not _is_free(DEFAULT):
        pytest.skip(f"port {DEFAULT}, the default, is in use on this machine")
    scene = Scene(place)
    follow(scene, scene.serve(["make", "up", *([] if port else [f"PORT={free_port()}"])]))


def test_as_an_ordinary_user(place: Path) -> None:
    """Without isolation, which is asked for by name; the README's functions are of python3.13."""
    prefix = Path(_prefix_of("python3.13"))
    scene = Scene(place, interpreter(), sysconfig.get_path("purelib"), f"{prefix}/bin:{SYSTEM}")
    data = scene.home / ".local" / "share" / "hanabi"
    data.mkdir(parents=True)
    (data / "images").symlink_to(IMAGES)
    (place / "aside").mkdir()
    for path in (scene.home, data, *data.parents[:2]):
        os.chown(path, UID, UID)
    barred = next((str(each) for each in reversed(prefix.parents) if not each.stat().st_mode & 0o001), "")
    drop = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    shown = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SHOWN, str(prefix), barred, str(place / "aside"), *drop]
    scene.inside = lambda command: ([*shown, *command], scene.variables)  # type: ignore[method-assign]
    server = scene.serve(
        [str(scene.checkout / ".venv/bin/hanabi"), "up", "--isolation", "process", "--port", str(free_port())], scene.checkout
    )
    follow(scene, server)


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _prefix_of(name: str) -> str:
    """Where a Python of this name is installed: on PATH, or beside the one that runs the tests."""
    beside = sorted(map(str, Path(sys.base_prefix).parent.glob(f"*/bin/{name}")))
    for found in filter(None, [shutil.which(name), *beside]):
        done = subprocess.run([found, "-c", "import sys; print(sys.base_prefix)"], capture_output=True, text=True, timeout=30)
        if done.returncode == 0:
            return done.stdout.strip()
    pytest.skip(f"the README's functions need a {name} on this machine where nothing isolates them")
