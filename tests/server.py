"""A real Hanabi in a process of its own, for tests and benchmarks: started, asked, crashed, stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from tests import leftovers

READY_S = 60.0
STOP_S = 60.0
ORPHANS = ("firecracker", "jailer", "hanabi-init", "runc", "crun", "fuse2fs", "pasta")  # of a server that was killed: this process's then
IMAGES = Path(os.environ.get("HANABI_TEST_IMAGES", "/var/lib/hanabi/images"))  # shared by all test servers: built once


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`hanabi up` on a data directory of its own."""

    def __init__(self, *options: str, data_dir: Path | None = None, variables: dict[str, str] | None = None) -> None:
        self.options = options
        self.variables = variables or {}
        self._own = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="hanabi-", dir="/var/tmp"))
        self.data_dir.chmod(0o755)
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self._killed = False
        self.ready_line = ""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """What `start` runs."""
        command = [sys.executable, "-m", "hanabi", "up", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        roles = [] if "--roles" in self.options else ["--roles", "any"]  # most tests are about other things
        return [*command, "--images-dir", str(IMAGES), *roles, *self.options]

    def start(self) -> Self:
        """Returns when it serves; raises with what it printed when it does not."""
        self.log = (self.data_dir / "server.log").open("a+")
        environment = {**os.environ, "HANABI_NO_PREBUILD": "1", **self.variables}
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("hanabi ready"):
                self.ready_line = line.strip()
                self._killed = False  # it has cleaned up after its predecessor
                return self
        status = self.process.wait(READY_S)
        self._release()
        raise RuntimeError(f"hanabi did not start (exit {status}):\n{(self.data_dir / 'server.log').read_text()[-4000:]}")

    def stop(self) -> int:
        """SIGTERM, as a service manager would; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.crash()
            raise
        finally:
            if self.process is not None:
                self._release()

    def crash(self) -> None:
        """SIGKILL: what a power cut does to the process, without the power cut."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)
        self._killed = True
        self._release()

    def _release(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.stdout.close()
        self.log.close()
        self.process = None
        leftovers.reap(*ORPHANS)

    def remove(self) -> None:
        """What it left is ended, too: a test that fails must not fail its neighbours."""
        if self._killed:
            leftovers.kill_machines(self.data_dir / "run")
            leftovers.reap(*ORPHANS)
        if self._own:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if self.process is not None:
                self.stop()
        finally:
            self.remove()

    @property
    def env(self) -> dict[str, str]:
        """What `eval "$(hanabi env)"` sets."""
        lines = self.hanabi("env").splitlines()
        return dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines if line.startswith("export "))

    def hanabi(self, *arguments: str, check: bool = True) -> str:
        """What a `hanabi` command prints."""
        command = [sys.executable, "-m", "hanabi", *arguments, "--data-dir", str(self.data_dir), "--port", str(self.port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client with the owner's key."""
        env = self.env
        options.setdefault("config", Config(retries={"total_max_attempts": 1}, read_timeout=120, max_pool_connections=50))
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=env["AWS_REGION"],
            aws_access_key_id=options.pop("access_key", env["AWS_ACCESS_KEY_ID"]),
            aws_secret_access_key=options.pop("secret_key", env["AWS_SECRET_ACCESS_KEY"]),
            **options,
        )


def zip_of(files: dict[str, str | bytes], executable: Sequence[str] = (), links: Sequence[str] = ()) -> bytes:
    """A zip file with these files. `links`: those that are symbolic links to what their content names."""
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = (0o120777 if name in links else 0o755 if name in executable else 0o644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


ROLE = "arn:aws:iam::000000000000:role/test"


def create_function(client: Any, name: str, code: str | dict[str, str | bytes], *executable: str, **options: Any) -> str:
    """Create a function and wait until it is active. `code`: lambda_function.py, or a mapping of files."""
    files: dict[str, str | bytes] = {"lambda_function.py": code} if isinstance(code, str) else code
    settings = {"Runtime": "python3.11", "Handler": "lambda_function.lambda_handler", "Role": ROLE, "Timeout": 10, **options}
    archive = zip_of(files, executable=["bootstrap", *executable])
    client.create_function(FunctionName=name, Code={"ZipFile": archive}, **settings)
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 1200})
    return name
