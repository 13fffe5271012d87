"""What is outside of the server: runtimes that echo at once, and the one who starts it and calls it."""

import asyncio
import io
import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench.load import Latencies, run
from bench.path.standins import RUNTIME

PAYLOAD = b'{"key1": "value1", "key2": "value2", "key3": "value3"}'
READY = b"\1\0\0\0r"
PATIENCE_S = 120.0
SIGNED = 64  # different requests: a client hardly ever signs the same twice
SETTLED_S = 2.5  # what waited for the time of day has had it


class Runtime(asyncio.Protocol):
    """Says that it is ready, and answers each invocation with its payload, in one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while len(self.data) >= 5 and len(self.data) >= (end := 4 + int.from_bytes(self.data[:4], "little")):
            frame, self.data = self.data[4:end], self.data[end:]
            if frame[:1] == b"n":
                payload = frame[3 + int.from_bytes(frame[1:3], "little") :]
                self.transport.write((len(payload) + 1).to_bytes(4, "little") + b"o" + payload + READY)
            else:
                self.transport.write(READY)


class Server:
    """A server in a process of its own. `wrapper`: what its interpreter is run by."""

    module = ""

    def __init__(self, directory: Path, port: int, wrapper: Sequence[str], python: str) -> None:
        self.directory = directory
        self.port = port
        self._command = [*wrapper, python, "-m", self.module]

    def arguments(self) -> list[str]:
        return [str(self.port)]

    def requests(self) -> list[bytes]:
        """What is sent, again and again in turn."""
        return [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(PAYLOAD), PAYLOAD)]

    async def __aenter__(self) -> Self:
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        self.process = await asyncio.create_subprocess_exec(*self._command, *self.arguments(), env=environment, stdout=subprocess.PIPE)
        await self.wait_for("ready")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.process.kill()
        await self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    async def wait_for(self, word: str) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while line := await self.process.stdout.readline():
                if line.split()[:1] == [word.encode()]:
                    return
        raise RuntimeError(f"the server ended before it said {word!r}")

    async def ask(self, clients: int, count: int) -> Latencies:
        """`count` requests of each client."""
        latencies = await run(self.port, self.requests(), clients=clients, count=count)
        if latencies.failures:
            raise RuntimeError(f"{latencies.failures} of {clients * count} requests failed")
        return latencies

    async def step(self) -> None:
        """From now on nothing is done in the background."""


class Echo(Server):
    """`bench.echo`: what any server costs before it does anything."""

    module = "bench.echo"


class Node(Server):
    """`bench.path.node`, with one function."""

    module = "bench.path.node"

    def arguments(self) -> list[str]:
        return [str(self.directory / "data"), str(self.port), str(self.directory / "runtimes")]

    async def __aenter__(self) -> Self:
        (self.directory / "data").mkdir()
        self._listener = await asyncio.get_running_loop().create_unix_server(Runtime, str(self.directory / "runtimes"))
        await super().__aenter__()
        await asyncio.to_thread(self._create)
        self._requests = [self._sign(number) for number in range(SIGNED)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        self._listener.close()

    async def step(self) -> None:
        self.process.send_signal(signal.SIGUSR1)
        await asyncio.sleep(SETTLED_S)

    async def profile(self) -> None:
        """Begin to profile, or end."""
        self.process.send_signal(signal.SIGUSR2)
        await self.wait_for("profiling")

    def requests(self) -> list[bytes]:
        return self._requests

    def _key(self) -> Any:
        return json.loads((self.directory / "data" / "keys.json").read_text())

    def _create(self) -> None:
        key = self._key()
        client = boto3.client(
            "lambda",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name=key["region"],
            aws_access_key_id=key["access_key"],
            aws_secret_access_key=key["secret_key"],
            config=Config(retries={"max_attempts": 0}, read_timeout=120),
        )
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("lambda_function.py", "def lambda_handler(event, context):\n    return event\n")
        role = f"arn:aws:iam::{key['account']}:role/bench"
        code = {"ZipFile": archive.getvalue()}
        client.create_function(
            FunctionName="f", Runtime=RUNTIME, Role=role, Handler="lambda_function.lambda_handler", Code=code, MemorySize=1769
        )
        client.get_waiter("function_active_v2").wait(FunctionName="f", WaiterConfig={"Delay": 1})

    def _sign(self, number: int) -> bytes:
        """A signed Invoke as boto3 sends it, unlike those of other numbers; good for five minutes."""
        key = self._key()
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/f/invocations"
        attempt = {"amz-sdk-invocation-id": f"3b2f1cf4-8f2e-4a53-a7bf-1c2f5d7e{number:04x}", "amz-sdk-request": "attempt=1"}
        request = AWSRequest("POST", url, data=PAYLOAD, headers=attempt)
        SigV4Auth(Credentials(key["access_key"], key["secret_key"]), "lambda", key["region"]).add_auth(request)
        headers = {
            "Host": f"127.0.0.1:{self.port}",
            "Accept-Encoding": "identity",
            "User-Agent": "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.2 cfg/retry-mode#legacy",
            "Content-Length": str(len(PAYLOAD)),
            **request.headers,
        }
        lines = ["POST /2015-03-31/functions/f/invocations HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + PAYLOAD
