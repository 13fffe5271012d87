"""Runtime roots: what is promised inside each, and what happens when one cannot be built, is being built, or was half built."""

import asyncio
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanabi.config import guest_dir
from hanabi.contracts import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.bootstraps import install_agent
from hanabi.images.roots import Images
from hanabi.sandbox.spec import MOUNT_FILES, MOUNT_POINTS
from tests.server import IMAGES

needs_tools = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mmdebstrap"), reason="needs root and mmdebstrap: roots are built and entered with chroot"
)
BUILT = ("python3.11", "python3.13", "nodejs22.x", "provided.al2023")


@pytest.fixture(scope="module", params=BUILT)
def image(request: pytest.FixtureRequest) -> Iterator[RuntimeImage]:
    """One built root after the other; the first run on a machine takes some minutes."""
    images = Images(IMAGES, guest_dir())
    yield asyncio.run(images.ensure(request.param))


def inside(image: RuntimeImage, *command: str) -> str:
    """What a program prints in a root, with the environment that functions have."""
    variables = [f"{name}={value}" for name, value in image.environment.items()]
    done = subprocess.run(["chroot", image.root, "/usr/bin/env", "-i", *variables, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


# --- what is promised inside --------------------------------------------------------------------------------------------


@needs_tools
def test_a_root_has_every_place_that_is_mounted_on(image: RuntimeImage) -> None:
    for name in (*MOUNT_POINTS, "var/task/lib", "opt/lib"):
        assert (image.root / name).is_dir(), name
    for name in MOUNT_FILES:
        assert stat.S_ISREG((image.root / name).lstat().st_mode), name
    for name in ("var/runtime", "proc", "dev", "tmp"):
        assert not list((image.root / name).iterdir()), name


@needs_tools
def test_everybody_may_read_a_root_and_nobody_gains_by_it(image: RuntimeImage) -> None:
    for directory, folders, files in os.walk(image.root):
        for name in (*folders, *files):
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode) or path == str(image.root / "tmp"):
                continue
            assert stat.S_ISDIR(mode) or stat.S_ISREG(mode), path
            assert mode & 0o7022 == 0, f"{path}: {oct(mode)}"
            assert mode & 0o004, path
    for place in (image.root, *image.root.parents):
        assert place.stat().st_mode & 0o001, place


@needs_tools
def test_the_function_has_a_name_and_the_locale_is_there(image: RuntimeImage) -> None:
    assert inside(image, "getent", "passwd", "993") == "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin"
    assert inside(image, "getent", "hosts", "localhost").startswith("127.0.0.1")
    assert "en_US.utf8" in inside(image, "locale", "-a").split()
    assert inside(image, "bash", "-c", "printf '%(%Z)T' 0") == "UTC"


@needs_tools
def test_the_bootstrap_is_a_copy_that_everybody_may_read(image: RuntimeImage) -> None:
    names = {path.name for path in image.runtime_dir.iterdir()}
    if not image.command:
        assert names == set()
        return
    assert Path(image.command[1]).name in names
    for path in image.runtime_dir.rglob("*"):
        assert path.stat().st_mode & 0o005 == (0o005 if path.is_dir() else 0o004)
    assert (image.root / image.command[0].lstrip("/")).is_symlink() or os.access(image.root / image.command[0].lstrip("/"), os.X_OK)


@needs_tools
@pytest.mark.parametrize("image", ["python3.11", "python3.13"], indirect=True)
def test_python(image: RuntimeImage) -> None:
    python = image.command[0]
    script = "import boto3, ctypes, locale, lzma, sqlite3, ssl, sys, zoneinfo\n"
    script += "locale.setlocale(locale.LC_ALL, '')\n"
    script += "print(sys.executable, zoneinfo.ZoneInfo('Europe/Paris'))"
    assert inside(image, python, "-W", "error", "-c", script) == f"{python} Europe/Paris"
    assert inside(image, image.runtime, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == image.runtime.removeprefix("python")
    paths = inside(image, python, "-c", "import sys; print(*sys.path)").split()
    assert paths.index("/var/runtime") < paths.index(f"/usr/lib/{image.runtime}")
    assert paths[-1] == f"/var/lang/lib/{image.runtime}/site-packages"  # a function's own boto3, and that of a layer, comes first


@needs_tools
@pytest.mark.parametrize("image", ["python3.11", "python3.13"], indirect=True)
def test_python_compiles_nothing_at_a_start(image: RuntimeImage) -> None:
    script = "import boto3, email, http.client, json, sys\n"
    script += "print(*(each.__cached__ for each in list(sys.modules.values()) if getattr(each, '__cached__', None)))"
    for cached in inside(image, image.command[0], "-c", script).split():
        assert (image.root / cached.lstrip("/")).is_file(), f"{cached} would be made anew at each start"
    assert {path.suffix for path in (image.runtime_dir / "__pycache__").iterdir()} == {".pyc"}


@needs_tools
@pytest.mark.parametrize("image", ["nodejs22.x"], indirect=True)
def test_node(image: RuntimeImage) -> None:
    assert inside(image, image.command[0], "--version").startswith(f"v{image.runtime[6:8]}.")
    script = "const {S3Client} = require('@aws-sdk/client-s3'); new S3Client({region: 'us-east-1'}); console.log('here')"
    assert inside(image, "node", "-e", script) == "here"
    folder = "/var/lang/lib/node_modules/@aws-sdk"
    every = (
        f"for (const name of fs.readdirSync('{folder}')) if (/^(client|lib)-/.test(name)) await import(require.resolve('@aws-sdk/' + name))"
    )
    script = f"const fs = require('fs'); (async () => {{ {every}; console.log('all') }})()"
    assert inside(image, "node", "-e", script) == "all"


@needs_tools
@pytest.mark.parametrize("image", ["provided.al2023"], indirect=True)
def test_an_os_only_root_runs_shell_bootstraps(image: RuntimeImage) -> None:
    assert "AWS_EXECUTION_ENV" not in image.environment
    assert (
        inside(image, "sh", "-c", "curl --version | head -1 | cut -d' ' -f1; echo x | sed s/x/y/ | grep y | awk '{print $1}'") == "curl\ny"
    )


@needs_tools
def test_a_built_root_is_listed(image: RuntimeImage) -> None:
    row = next(row for row in Images(IMAGES, guest_dir()).list() if row.runtime == image.runtime)
    assert row.built and row.path and image.root.parent == Path(row.path)
    assert 50 << 20 < (row.size or 0) < 400 << 20


# --- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["python3.12", "nodejs16.x", "java21", "provided", "../etc"])
def test_a_runtime_that_cannot_be_had_says_what_to_do(tmp_path: Path, runtime: str) -> None:
    images = Images(tmp_path / "images", guest_dir())
    assert not images.known(runtime)
    with pytest.raises(ImageError, match=f"There is no runtime root for {runtime}: .+"):
        asyncio.run(images.ensure(runtime))
    assert not (tmp_path / "images").exists()


def test_what_is_not_built_is_listed_as_such(tmp_path: Path) -> None:
    rows = Images(tmp_path, guest_dir()).list()
    assert set(BUILT) <= {row.runtime for row in rows}
    assert all(not row.built and row.size is None and row.path is None for row in rows)


# --- copies ---------------------------------------------------------------------------------------------------------------


def test_the_agent_is_copied_where_every_user_may_run_it(tmp_path: Path) -> None:
    source = tmp_path / "hanabi-init"
    source.write_bytes(b"\x7fELF")
    source.chmod(0o700)
    copy = install_agent(source, tmp_path / "agent")
    assert copy.read_bytes() == b"\x7fELF"
    assert (stat.S_IMODE(copy.stat().st_mode), stat.S_IMODE(copy.parent.stat().st_mode)) == (0o755, 0o755)
    made = copy.stat().st_mtime_ns
    assert install_agent(source, tmp_path / "agent") == copy
    assert copy.stat().st_mtime_ns == made
