"""Warm invocations beside a bare echo: hot, frozen, at several concurrencies, under uploads, with the official Python client."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.load import Latencies, cpu_s, run
from tests.server import Server, create_function, zip_of

PAYLOAD = b'{"key1": "value1", "key2": "value2", "key3": "value3"}'
HANDLER = "def lambda_handler(event, context):\n    return event\n"
OFFICIAL = "#!/bin/sh\nexec /var/lang/bin/python3.11 -m awslambdaric lambda_function.lambda_handler\n"


def signed_invoke(server: Server, name: str, headers: dict[str, str] | None = None) -> bytes:
    """One signed Invoke request, ready to be sent again and again within its five minutes."""
    env = server.env
    request = AWSRequest("POST", f"{server.endpoint}/2015-03-31/functions/{name}/invocations", data=PAYLOAD, headers=headers)
    SigV4Auth(Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]), "lambda", env["AWS_REGION"]).add_auth(request)
    lines = [f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"Content-Length: {len(PAYLOAD)}"]
    lines += [f"{key}: {value}" for key, value in request.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + PAYLOAD


async def measure(server: Server, scale: float) -> dict[str, Any]:
    client = server.client("lambda")
    name = create_function(client, "bench-warm", HANDLER, MemorySize=1769)
    figures: dict[str, Any] = {}
    echo = await measure_echo(scale, figures)
    await invoke(server, name, 1, 200)
    hot = await invoke(server, name, 1, int(4000 * scale))
    figures |= {"hot p50 ms": hot.quantile_ms(0.5), "hot p99 ms": hot.quantile_ms(0.99)}
    figures["hot p50 / echo p50"] = hot.quantile_ms(0.5) / echo.quantile_ms(0.5)
    figures["hot p99 / hot p50"] = hot.quantile_ms(0.99) / hot.quantile_ms(0.5)
    frozen = await invoke(server, name, 1, int(300 * scale), pause_s=0.04)
    figures |= {"frozen p50 ms": frozen.quantile_ms(0.5), "frozen p99 ms": frozen.quantile_ms(0.99)}
    figures["thaw p50 ms (frozen - hot)"] = frozen.quantile_ms(0.5) - hot.quantile_ms(0.5)
    for clients in (1, 8, 32):
        await invoke(server, name, clients, 20)
        assert server.process is not None
        count, before_s, behind_s = int(16000 * scale / clients), cpu_s(server.process.pid), index_cpu_s(server.process.pid)
        best = await invoke(server, name, clients, count)
        figures[f"invocations/s at {clients}"] = best.rate
        figures[f"server CPU us an invocation at {clients}"] = (cpu_s(server.process.pid) - before_s) / len(best.times) * 1e6
        figures[f"index CPU us an invocation at {clients}"] = (index_cpu_s(server.process.pid) - behind_s) / len(best.times) * 1e6
        figures[f"p99 ms at {clients}"] = best.quantile_ms(0.99)
    figures["p99 ms under 50 MB uploads"] = (await under_uploads(server, name, scale)).quantile_ms(0.99)
    official = create_official(client)
    if official:
        figures["awslambdaric p50 ms"] = (await invoke(server, official, 1, int(1500 * scale))).quantile_ms(0.5)
    return figures


def index_cpu_s(server: int) -> float:
    """CPU time of the process that writes the index of the record: it has the lowest priority."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return sum(cpu_s(int(pid)) for pid in children if b"index_worker" in Path(f"/proc/{pid}/cmdline").read_bytes())


async def invoke(server: Server, name: str, clients: int, count: int, pause_s: float = 0.0) -> Latencies:
    request = signed_invoke(server, name)
    await run(server.port, request, clients=clients, count=10)
    latencies = await run(server.port, request, clients=clients, count=max(count, 20), pause_s=pause_s)
    assert not latencies.failures, f"{latencies.failures} failed invocations"
    return latencies


async def measure_echo(scale: float, figures: dict[str, Any]) -> Latencies:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.echo", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int((await process.stdout.readline()).split()[1])
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(PAYLOAD), PAYLOAD)
        await run(port, request, clients=1, count=500)
        before_s = cpu_s(process.pid)
        one = await run(port, request, clients=1, count=int(8000 * scale))
        figures["echo server CPU us a request"] = (cpu_s(process.pid) - before_s) / len(one.times) * 1e6
        eight = await run(port, request, clients=8, count=int(4000 * scale))
    finally:
        process.kill()
        await process.wait()
    figures |= {"echo p50 ms": one.quantile_ms(0.5), "echo p99 ms": one.quantile_ms(0.99), "echo requests/s at 8": eight.rate}
    return one


async def under_uploads(server: Server, name: str, scale: float) -> Latencies:
    """Warm invocations while another client uploads 50 MB zips."""
    archive = zip_of({"lambda_function.py": HANDLER, "data.bin": os.urandom(48 * 1024 * 1024)})
    client = server.client("lambda")
    create_function(client, "bench-upload", HANDLER)
    done = asyncio.Event()

    def upload() -> None:
        for _ in range(max(1, int(3 * scale))):
            client.update_function_code(FunctionName="bench-upload", ZipFile=archive)
            client.get_waiter("function_updated_v2").wait(FunctionName="bench-upload", WaiterConfig={"Delay": 1})

    async def uploads() -> None:
        await asyncio.to_thread(upload)
        done.set()

    times: list[float] = []
    elapsed = 0.0
    async with asyncio.TaskGroup() as group:
        group.create_task(uploads())
        while not done.is_set():
            part = await invoke(server, name, 1, 200, pause_s=0.002)
            times += part.times
            elapsed += part.elapsed
    return Latencies(sorted(times), elapsed, 0)


def create_official(client: Any) -> str | None:
    """The same handler under the official runtime interface client, started through the exec wrapper; None where it cannot be had."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", directory, "awslambdaric", "--only-binary", ":all:"]
        command += ["--python-version", "3.11"]
        if subprocess.run(command, capture_output=True).returncode:
            print("awslambdaric: not measured: pip could not install it", file=sys.stderr)
            return None
        root = Path(directory)
        files: dict[str, str | bytes] = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    files |= {"lambda_function.py": HANDLER, "bootstrap": OFFICIAL}
    settings = {"MemorySize": 1769, "Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"}}}
    return create_function(client, "bench-official", files, **settings)
