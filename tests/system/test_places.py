"""Directories that other users may not enter: said at the start where sandboxes must go there, no matter where they need not."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import needs_root
from tests.server import Server
from tests.system.test_process_isolation import UID, OrdinaryServer, interpreter, skip_if_closed

pytestmark = needs_root
ROOT = Path(__file__).parents[2]


@pytest.fixture
def barred() -> Iterator[Path]:
    """A directory of somebody's own, below one of somebody's own."""
    outer = Path(tempfile.mkdtemp(prefix="hanabi-barred-", dir="/var/tmp"))
    inner = outer / "inner"
    inner.mkdir(mode=0o700)
    yield inner
    shutil.rmtree(outer)


@pytest.mark.parametrize("flag", ["--images-dir", "--data-dir"])
def test_sandboxes_must_be_able_to_enter(barred: Path, flag: str) -> None:
    place = barred / "place"
    with tempfile.TemporaryDirectory(prefix="hanabi-", dir="/var/tmp") as own:
        server = Server("--isolation", "oci", flag, str(place), data_dir=Path(own))
        with pytest.raises(RuntimeError) as caught:
            server.start()
    said = f"sandboxes cannot enter {barred.parent}; chmod o+x {barred.parent} {barred}, or choose another {flag}"
    assert said in str(caught.value)
    assert not (place / "roots").exists()  # nothing was built


def test_processes_of_the_same_user_need_nothing_of_the_kind(barred: Path) -> None:
    interpreter()
    for path in (barred.parent, barred):
        os.chown(path, UID, UID)
    server = OrdinaryServer(data_dir=barred)
    server.images = barred / "images"
    server.data_dir.chmod(0o700)
    with server:
        assert "process: no isolation" in server.ready_line


def test_an_ordinary_user_is_told_of_fuse2fs() -> None:
    """Each sandbox of an ordinary user has its /tmp by it; root's have not."""
    skip_if_closed()
    found = shutil.which("fuse2fs", path="/usr/sbin:/usr/bin:/sbin:/bin")
    hide = f"mount --bind /etc/hostname {found} &&" if found else ""  # a file that nobody can start
    drop = f"exec setpriv --reuid={UID} --regid={UID} --clear-groups sh {ROOT}/scripts/system-packages"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f"{hide} {drop}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"})
    assert "missing system packages:" in done.stderr and " fuse2fs" in done.stderr, done.stderr
