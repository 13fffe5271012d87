"""Runtime roots: what is promised inside each, and what happens when one cannot be built, is being built, or was half built."""

import asyncio
import fcntl
import os
import platform
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.images.builders import programs
from hanabi.images.paths import root_path
from hanabi.images.runtimes.bootstraps import install_agent, install_bootstrap
from hanabi.images.runtimes.builder import Builder
from hanabi.images.runtimes.listing import list_runtimes
from hanabi.images.runtimes.package_roots import CERTIFICATES, ENTRYPOINT, place_certificates, place_entrypoint
from hanabi.images.runtimes.recipes import RECIPES, RUNTIMES, digest_recipe
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.node.config import guest_dir
from hanabi.sandbox.oci.bundle_config import MOUNT_FILES, MOUNT_POINTS
from tests.server import IMAGES
from tests.waiting import until, wait_for

needs_tools = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mmdebstrap"), reason="needs root and mmdebstrap: roots are built and entered with chroot"
)
BUILT = ("python3.11", "python3.13", "nodejs22.x", "provided.al2023")


@pytest.fixture(scope="module", params=BUILT)
def image(request: pytest.FixtureRequest) -> Iterator[RuntimeImage]:
    """One built root after the other; the first run on a machine takes some minutes."""
    images = RuntimeImages(IMAGES, guest_dir())
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
def test_certificates_are_where_lambda_has_them(image: RuntimeImage) -> None:
    for name in ("/etc/ssl/certs/ca-bundle.crt", "/etc/pki/tls/certs/ca-bundle.crt"):
        assert inside(image, "grep", "-c", "BEGIN CERTIFICATE", name).isdecimal()
    if image.runtime.startswith("nodejs"):
        assert image.runtime_dir and os.readlink(image.runtime_dir / "ca-cert.pem") == "/etc/pki/tls/certs/ca-bundle.crt"


def test_a_root_that_was_built_before_gets_its_links(tmp_path: Path) -> None:
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    (tmp_path / CERTIFICATES).write_text("certificates")
    for _ in range(2):
        place_certificates(tmp_path)
    assert os.readlink(tmp_path / "etc/pki/tls/certs/ca-bundle.crt") == f"/{CERTIFICATES}"
    assert (tmp_path / "etc/ssl/certs/ca-bundle.crt").is_symlink()


def test_the_entrypoint_runs_the_bootstrap_with_the_handler(tmp_path: Path) -> None:
    place_entrypoint(tmp_path, ["/usr/bin/env"])
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([tmp_path / ENTRYPOINT, "app.handler"], env=environment, capture_output=True, text=True, timeout=60)
    assert "_HANDLER=app.handler" in done.stdout.splitlines() and done.returncode == 0
    done = subprocess.run([tmp_path / ENTRYPOINT], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 142 and "the handler's name" in done.stderr


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
    language = RUNTIMES[image.runtime].language
    assert image.runtime_dir is not None
    names = {path.name for path in image.runtime_dir.iterdir()}
    if not language:
        assert names == set() and image.command == ()
        return
    assert Path(image.command[1]).name in names
    for path in (each for each in image.runtime_dir.rglob("*") if not each.is_symlink()):
        assert path.stat().st_mode & 0o004 and (path.stat().st_mode & 0o001 or not path.is_dir())
    assert (image.root / image.command[0].lstrip("/")).is_symlink() or os.access(image.root / image.command[0].lstrip("/"), os.X_OK)


@needs_tools
@pytest.mark.parametrize("image", ["python3.11", "python3.13"], indirect=True)
def test_python(image: RuntimeImage) -> None:
    python = image.command[0]
    script = "import boto3, ctypes, locale, lzma, sqlite3, ssl, sys, zoneinfo\n"
    script += "locale.setlocale(locale.LC_ALL, '')\n"
    script += "print(sys.executable, sys.prefix, zoneinfo.ZoneInfo('Europe/Paris'))"
    assert inside(image, python, "-W", "error", "-c", script) == f"{python} /var/lang Europe/Paris"
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
        flags = int.from_bytes((image.root / cached.lstrip("/")).read_bytes()[4:8], "little")
        assert flags == 1, f"{cached} is compared with its source at each start"
    assert image.runtime_dir is not None
    assert {path.suffix for path in (image.runtime_dir / "__pycache__").iterdir()} == {".pyc"}


@needs_tools
@pytest.mark.parametrize("image", ["nodejs22.x"], indirect=True)
def test_node(image: RuntimeImage) -> None:
    assert inside(image, image.command[0], "--version").startswith(f"v{image.runtime[6:8]}.")
    script = "const {S3Client} = require('@aws-sdk/client-s3'); new S3Client({region: 'us-east-1'}); console.log('here')"
    image = replace(image, environment={**image.environment, "NODE_PATH": "/var/lang/lib/node_modules"})  # /var/runtime has a link to it
    assert image.runtime_dir and os.readlink(image.runtime_dir / "node_modules") == image.environment["NODE_PATH"]
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
    row = next(row for row in list_runtimes(RuntimeImages(IMAGES, guest_dir()), IMAGES) if row.runtime == image.runtime)
    assert row.built and row.how == "" and row.path and image.root.parent == Path(row.path)
    assert 50 << 20 < (row.size or 0) < 250 << 20


# --- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["dotnet8", "nodejs16.x", "ruby4.0", "provided", "../etc", ""])
async def test_a_runtime_that_cannot_be_had_says_what_to_do(tmp_path: Path, runtime: str) -> None:
    images = RuntimeImages(tmp_path / "images", guest_dir())
    assert "provided.al2023" in await images.why_missing(runtime)
    with pytest.raises(ImageError, match="provided.al2023"):
        await images.ensure(runtime)
    assert not (tmp_path / "images").exists()


def test_what_is_not_built_says_how_to_get_it(tmp_path: Path) -> None:
    rows = [row for row in list_runtimes(RuntimeImages(tmp_path, guest_dir()), tmp_path) if row.available]
    assert {row.runtime for row in rows} == set(RUNTIMES)
    assert all(not row.built and row.size is None and f"hanabi images build {row.runtime}" in row.how for row in rows)


def test_a_digest_changes_with_all_that_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: digest_recipe(name) for name in RECIPES}
    assert len(set(before.values())) == len(RECIPES)
    monkeypatch.setattr(platform, "machine", lambda: "other")
    assert all(digest_recipe(name) != before[name] for name in RECIPES)


# --- building -------------------------------------------------------------------------------------------------------------


def fake_mmdebstrap(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in place of mmdebstrap, for builds that are to fail or to take long."""
    program = directory / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_without_mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SEARCHED", str(tmp_path))
    with pytest.raises(ImageError, match="apt-get install mmdebstrap"):
        Builder(tmp_path / "images", print).build("python3.11")
    assert not list((tmp_path / "images/building").iterdir())


async def test_a_failed_build_says_why_to_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mmdebstrap(tmp_path, f"echo build >>{tmp_path}/builds; echo 'E: no such mirror' >&2; exit 25", monkeypatch)
    images, said = RuntimeImages(tmp_path / "images", guest_dir()), list[str]()

    async def ensure() -> list[RuntimeImage | BaseException]:
        return await asyncio.gather(*(images.ensure("python3.11", said.append) for _ in range(3)), return_exceptions=True)

    for error in await ensure():
        assert isinstance(error, ImageError)
        assert "E: no such mirror" in str(error) and "status 25" in str(error)
    assert (tmp_path / "builds").read_text() == "build\n"
    assert said == ["installing packages of Debian bookworm"] * 3
    assert not list((tmp_path / "images/building").iterdir())
    assert not images.is_there("python3.11")


async def test_close_ends_a_build_with_all_its_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mmdebstrap(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 300", monkeypatch)

    images = RuntimeImages(tmp_path / "images", guest_dir())
    waiting = asyncio.create_task(images.ensure("python3.11"))
    started = tmp_path / "pid"
    pid = int(await until(lambda: started.read_text().strip() if started.exists() else ""))
    await images.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pid = pid
    wait_for(lambda: not _is_running(pid))


def _is_running(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_what_a_killed_builder_left_is_cleared_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mmdebstrap(tmp_path, "exit 1", monkeypatch)
    monkeypatch.setattr(programs, "SEARCHED", os.environ["PATH"])
    place = root_path(tmp_path / "images", "python3.11")
    for left in (tmp_path / "images/building" / place.name, place):
        (left / "root/usr").mkdir(parents=True)
        (left / "root/usr/half").write_text("half")
        (left / "root/usr").chmod(0o555)
    with pytest.raises(ImageError):
        Builder(tmp_path / "images", print).build("python3.11")
    assert not place.exists()
    assert not list((tmp_path / "images/building").iterdir())


def test_another_process_that_builds_is_waited_for(tmp_path: Path) -> None:
    images = tmp_path / "images"
    said, place = list[str](), root_path(images, "python3.11")
    builder = Builder(images, said.append)
    with (images / "locks" / place.name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=builder.build, args=("python3.11",))
        thread.start()
        wait_for(lambda: said)
        place.mkdir(parents=True)
        (place / "about.json").write_text("{}")  # the other one is done
    thread.join(10)
    assert not thread.is_alive()
    assert said == ["waiting for another process that builds it"]


def test_a_lock_outlives_a_killed_builder_while_its_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next builder would clear the directory that the program still writes to."""
    fake_mmdebstrap(tmp_path, f"echo $$ >{tmp_path}/pid; exec sleep 300", monkeypatch)
    images = tmp_path / "images"
    builder = subprocess.Popen([sys.executable, "-m", "hanabi.images.runtimes.builder", images, "python3.11"], stdout=subprocess.DEVNULL)
    started = tmp_path / "pid"
    pid = int(wait_for(lambda: started.read_text().strip() if started.exists() else ""))
    builder.kill()
    builder.wait(10)
    with (images / "locks" / root_path(images, "python3.11").name).open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(pid, 9)
        wait_for(lambda: _try_lock(lock.fileno()))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_remove(tmp_path: Path) -> None:
    images = RuntimeImages(tmp_path, guest_dir())
    assert not images.remove("python3.11")
    for name in ("python3.11-of-an-older-recipe", root_path(tmp_path, "python3.11").name, "python3.13-stays"):
        (tmp_path / "roots" / name / "root").mkdir(parents=True)
    assert images.remove("python3.11")
    assert [path.name for path in (tmp_path / "roots").iterdir()] == ["python3.13-stays"]
    assert not list((tmp_path / "building").iterdir())
    assert not images.remove("../roots")


# --- copies ---------------------------------------------------------------------------------------------------------------


def test_the_bootstrap_is_copied_anew_when_it_changed(tmp_path: Path) -> None:
    guest, copies = tmp_path / "guest", tmp_path / "bootstrap"
    (guest / "node/inner/__pycache__").mkdir(parents=True)
    (guest / "node/inner/a.mjs").write_text("1")
    (guest / "node/inner/__pycache__/b").write_text("left out")
    first = install_bootstrap(guest, copies, "node", tmp_path)
    assert install_bootstrap(guest, copies, "node", tmp_path) == first
    assert {path.name for path in first.rglob("*")} == {"inner", "a.mjs", "ca-cert.pem", "node_modules"}
    (guest / "node/inner/a.mjs").write_text("2")
    second = install_bootstrap(guest, copies, "node", tmp_path)
    assert ((first / "inner/a.mjs").read_text(), (second / "inner/a.mjs").read_text()) == ("1", "2")


def test_the_agent_is_copied_where_every_user_may_run_it(tmp_path: Path) -> None:
    source = tmp_path / "hanabi-init"
    source.write_bytes(b"\x7fELF")
    source.chmod(0o700)
    umask = os.umask(0o077)
    try:
        copy = install_agent(source, tmp_path / "agent")
    finally:
        os.umask(umask)
    assert copy.read_bytes() == b"\x7fELF"
    assert (stat.S_IMODE(copy.stat().st_mode), stat.S_IMODE(copy.parent.stat().st_mode)) == (0o755, 0o755)
    made = copy.stat().st_mtime_ns
    assert install_agent(source, tmp_path / "agent") == copy
    assert copy.stat().st_mtime_ns == made
