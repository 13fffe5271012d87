"""Functions and runtime clients that need a tool chain or a registry: built once, kept outside the tree, by what they are made from.

A missing tool or an unreachable registry skips the test with one line; a build that fails is a failure.
"""

import hashlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "system" / "clients"
CACHE = Path(os.environ.get("HANABI_TEST_CACHE") or Path.home() / ".cache" / "hanabi-tests")
PATIENCE_S = 400
ROOT_GLIBC = (2, 36)  # of the Debian release that the roots come from: what is linked against a newer one does not run there

BUILDS = os.environ.get("HANABI_TEST_CLIENTS", "go,node,python,registry,rust").split(
    ","
)  # what may be built anew: Node's takes 90 s, Rust's 50
AWSLAMBDARIC = "awslambdaric==4.2.2"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
SAM_CLI = "aws-sam-cli==1.170.0"
AWS_CLI_NEEDS = (
    *("awscrt<0.17", "colorama", "cryptography", "python-dateutil<3", "distro", "docutils", "jmespath"),
    *("prompt-toolkit<3.0.39", "ruamel.yaml<0.18", "urllib3<1.27"),
)
WEB_ADAPTER = "lambda_web_adapter@1.0.0-rc1"


def go_bootstrap() -> Path:
    """`bootstrap`, static, from tests/system/clients/go."""
    go = _tool("go")

    def make(work: Path) -> None:
        environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
        _fetch([go, "mod", "download"], work, environment)
        _build([go, "build", "-tags", "lambda.norpc", "-trimpath", "-ldflags", "-s -w", "-o", "bootstrap", "."], work, environment)

    return _built("go", CLIENTS / "go", make) / "bootstrap"


def rust_bootstrap() -> Path:
    """`bootstrap`, linked to the C library, from tests/system/clients/rust."""
    cargo = _tool("cargo")
    _tool("rustc")
    _needs_old_glibc()

    def make(work: Path) -> None:
        _fetch([cargo, "fetch", "--quiet"], work, {})
        _build([cargo, "build", "--quiet", "--release", "--offline"], work, {})
        shutil.move(work / "target/release/bootstrap", work / "bootstrap")
        shutil.rmtree(work / "target")

    return _built("rust", CLIENTS / "rust", make) / "bootstrap"


def node_client() -> dict[str, bytes]:
    """The files of an installed aws-lambda-ric that a function needs, below node_modules."""
    npm = _tool("npm")
    for tool in ("cmake", "autoreconf", "libtoolize", "make", "g++"):  # its installation builds curl and a native module
        _tool(tool)
    _needs_old_glibc()

    def make(work: Path) -> None:
        _fetch([npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"], work, {})
        _build([npm, "rebuild", "aws-lambda-ric"], work, {"MAKEFLAGS": f"-j{os.cpu_count()}"})
        for left in work.glob("node_modules/*/"):
            if left.name != "aws-lambda-ric":
                shutil.rmtree(left)
        shutil.rmtree(work / "node_modules/aws-lambda-ric/deps")

    return _files(_built("node", CLIENTS / "node", make), "node_modules")


def python_client() -> dict[str, bytes]:
    """The files of an installed awslambdaric and what it needs, for Python 3.11."""
    platforms = [f"--platform={tag}_{platform.machine()}" for tag in ("manylinux2014", "manylinux_2_28", "manylinux_2_34")]

    def make(work: Path) -> None:
        command = [*PIP, "--target", "site"]
        _fetch([*command, "--only-binary=:all:", "--python-version=3.11", *platforms, AWSLAMBDARIC], work, {})

    return _files(_built("python", AWSLAMBDARIC, make) / "site", "")


def java_package() -> dict[str, bytes]:
    """The files of a function on AWS's client for Java: tests/system/clients/java, its jars, and a Java that fits into a zip."""
    mvn, javac, jlink = map(_tool, ("mvn", "javac", "jlink"))
    _needs_old_glibc()
    small = ["--strip-debug", "--no-header-files", "--no-man-pages", "--compress=2"]

    def make(work: Path) -> None:
        _fetch([mvn, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"], work, {})
        _build([javac, "-cp", "lib/*", "-d", ".", "App.java"], work, {})
        _build([jlink, "--add-modules", "java.logging,java.sql,java.xml,jdk.unsupported", *small, "--output", "jre"], work, {})

    package = _built("java", CLIENTS / "java", make)
    return {name: data for name, data in _files(package, "").items() if name.startswith(("jre/", "lib/", "App.class"))}


def web_adapter() -> Path:
    """The AWS Lambda Web Adapter, as its crate has it: an external extension. It takes minutes to build."""
    cargo = _tool("cargo")
    _tool("rustc")
    _needs_old_glibc()

    def make(work: Path) -> None:
        _fetch([cargo, "info", "--quiet", WEB_ADAPTER], work, {})
        _build([cargo, "install", "--quiet", "--locked", "--root", ".", WEB_ADAPTER], work, {}, limit_s=1800)

    return _built("web-adapter", WEB_ADAPTER, make) / "bin/lambda-adapter"


def docker_registry() -> Path:
    """Docker's registry, as Debian has it: the program alone, not installed, so that no service starts."""
    if found := shutil.which("docker-registry"):
        return Path(found)
    apt, dpkg = _tool("apt-get"), _tool("dpkg-deb")

    def make(work: Path) -> None:
        _fetch([apt, "download", "-q", "docker-registry"], work, {})
        _build([dpkg, "-x", str(next(work.glob("*.deb"))), "."], work, {})

    return _built("registry", "docker-registry", make) / "usr/bin/docker-registry"


def sam_cli() -> tuple[list[str], dict[str, str]]:
    """The command of the SAM CLI, and the variables that it needs."""

    def make(work: Path) -> None:
        _fetch([*PIP, "--target", "site", SAM_CLI], work, {})

    return [sys.executable, "-W", "ignore", "-m", "samcli"], {"PYTHONPATH": str(_built("sam", SAM_CLI, make) / "site")}


def aws_cli() -> tuple[list[str], dict[str, str]]:
    """The command of version 2 of the AWS CLI, which Debian has and PyPI has not, and the variables that it needs."""
    apt, dpkg = _tool("apt-get"), _tool("dpkg-deb")

    def make(work: Path) -> None:
        _fetch([apt, "download", "-q", "awscli"], work, {})
        _build([dpkg, "-x", str(next(work.glob("*.deb"))), "."], work, {})
        _fetch([*PIP, "--target", "site", *AWS_CLI_NEEDS], work, {})

    built = _built("aws-cli", " ".join(AWS_CLI_NEEDS), make)
    paths = os.pathsep.join(map(str, (built / "site", built / "usr/lib/python3/dist-packages")))
    return [sys.executable, "-W", "ignore", "-m", "awscli"], {"PYTHONPATH": paths}


def _built(name: str, source: Path | str, make: Callable[[Path], None]) -> Path:
    """The directory in which `make` has worked on a copy of the source; an earlier one, if nothing has changed since."""
    files = _files(source, "") if isinstance(source, Path) else {"source": source.encode()}
    identity = repr((sorted(files.items()), platform.machine(), inspect.getsource(make)))
    final = CACHE / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if final.is_dir():
        return final
    if name not in BUILDS:
        pytest.skip(f"the {name} client is not in the cache, and HANABI_TEST_CLIENTS does not have it built")
    CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
    try:
        for path, content in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
        make(work)
        work.rename(final)
    except OSError:
        if not final.is_dir():  # else another run was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return final


def _files(folder: Path, below: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / below).rglob("*")) if path.is_file()}


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _needs_old_glibc() -> None:
    version = tuple(int(part) for part in platform.libc_ver()[1].split(".") if part.isdigit())
    if version > ROOT_GLIBC:
        pytest.skip(f"what is linked here needs glibc {'.'.join(map(str, version))}, the runtime roots have 2.36")


def _fetch(command: list[str], work: Path, environment: dict[str, str]) -> None:
    done = _run(command, work, environment)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        pytest.skip(f"{Path(command[0]).name} cannot reach its registry: {said[-1][:200]}")


def _build(command: list[str], work: Path, environment: dict[str, str], limit_s: int = PATIENCE_S) -> None:
    done = _run(command, work, environment, limit_s)
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def _run(command: list[str], work: Path, environment: dict[str, str], limit_s: int = PATIENCE_S) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=work, env={**os.environ, **environment}, capture_output=True, text=True, timeout=limit_s)
