"""Very many functions: how fast they are made, listed and read, what the server takes with them, and whether an invocation notices.

`python -m bench.many [--functions N] [--directory DIR]` runs it alone. It needs no sandbox: the server is `bench.path`'s, whole, with one
stand-in runtime.
"""

import argparse
import asyncio
import base64
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.load import Latencies, cpu_s, run
from bench.path.far import Node
from bench.path.standins import RUNTIME
from tests.server import Server, free_port, zip_of

FUNCTIONS = 20_000
CLIENTS = 8
CHUNK = 1_000  # requests signed at a time: signatures are good for five minutes
BLOCKS = 9  # of invocations, on a server with one function and on the one with many in turn: the median of each counts
INVOCATIONS = 1_000  # of a block
CODE = base64.b64encode(zip_of({"lambda_function.py": "def lambda_handler(event, context):\n    return event\n"})).decode()


class ManyNode(Node):
    """The server, whose functions are made by plain requests."""

    def sign(self, method: str, target: str, document: Any = None) -> bytes:
        key = self._key()
        body = b"" if document is None else json.dumps(document).encode()
        request = AWSRequest(method, f"http://127.0.0.1:{self.port}{target}", data=body)
        SigV4Auth(Credentials(key["access_key"], key["secret_key"]), "lambda", key["region"]).add_auth(request)
        headers = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **request.headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def send(self, requests: Sequence[bytes], clients: int = CLIENTS) -> Latencies:
        """Each request once, shared among clients."""
        parts = [requests[client::clients] for client in range(clients)]
        began = time.perf_counter()
        done = await asyncio.gather(*(run(self.port, part, clients=1, count=len(part)) for part in parts if part))
        failures = sum(each.failures for each in done)
        if failures:
            raise RuntimeError(f"{failures} of {len(requests)} requests failed")
        return Latencies(sorted(moment for each in done for moment in each.times), time.perf_counter() - began, 0)

    async def create(self, numbers: range) -> float:
        """Create functions; returns the seconds that the server took."""
        role, elapsed = f"arn:aws:iam::{self._key()['account']}:role/bench", 0.0
        for start in range(numbers.start, numbers.stop, CHUNK):
            requests = [
                self.sign(
                    "POST",
                    "/2015-03-31/functions",
                    {
                        "FunctionName": f"many-{number:05d}",
                        "Runtime": RUNTIME,
                        "Role": role,
                        "Handler": "lambda_function.lambda_handler",
                        "Code": {"ZipFile": CODE},
                        "Environment": {"Variables": {"STAGE": "prod", "TABLE": f"table-{number}"}},
                        "Tags": {"team": f"team-{number % 50}"},
                    },
                )
                for number in range(start, min(start + CHUNK, numbers.stop))
            ]
            elapsed += (await self.send(requests)).elapsed
        return elapsed

    async def invoke(self, count: int) -> tuple[float, float]:
        """(p50 in ms, CPU of the server in us for each) of warm invocations."""
        self._requests = [self._sign(number) for number in range(8)]
        await self.ask(1, 50)
        began = cpu_s(self.pid)
        latencies = await self.ask(1, count)
        return latencies.quantile_ms(0.5), (cpu_s(self.pid) - began) / count * 1e6

    async def restart(self) -> float:
        """Stop and start it; returns the seconds until it serves again."""
        self.process.terminate()
        await self.process.wait()
        began = time.perf_counter()
        await super(Node, self).__aenter__()
        return time.perf_counter() - began

    def rss_mb(self) -> float:
        line = next(line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


async def measure(server: Server | None, scale: float, functions: int = 0, directory: str = "/var/tmp") -> dict[str, Any]:
    """`server` is not used: this has its own, with its data below `directory`."""
    functions = functions or int(FUNCTIONS * scale)
    with tempfile.TemporaryDirectory(dir=directory) as scratch, tempfile.TemporaryDirectory(dir=directory) as other:
        async with ManyNode(Path(scratch), free_port(), [], sys.executable) as node:
            figures = await _measure(node, functions)
            async with ManyNode(Path(other), free_port(), [], sys.executable) as single:
                return figures | await _compare(node, single, f"with {functions} functions")


async def _compare(many: ManyNode, single: ManyNode, name: str) -> dict[str, Any]:
    """Invocations on both, in turn, so that both have the same machine."""
    pairs = [(await single.invoke(INVOCATIONS), await many.invoke(INVOCATIONS)) for _ in range(BLOCKS)]
    medians = [statistics.median(pair[which][figure] for pair in pairs) for which in (0, 1) for figure in (0, 1)]
    return {
        f"warm invocation {name}, p50 in that with one": medians[2] / medians[0],
        f"warm invocation {name}, server CPU in that with one": medians[3] / medians[1],
    }


async def _measure(node: ManyNode, functions: int) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    name = f"with {functions} functions"
    figures["RSS with 1 function, MB"] = node.rss_mb()
    tenth = functions // 10
    first_s = await node.create(range(tenth))
    await node.create(range(tenth, functions - tenth))
    last_s = await node.create(range(functions - tenth, functions))
    figures["functions created a second, the first tenth"] = tenth / first_s
    figures["functions created a second, the last tenth"] = tenth / last_s
    gets = [node.sign("GET", f"/2015-03-31/functions/many-{number * 7919 % functions:05d}") for number in range(1000)]
    got = await node.send(gets, clients=1)
    figures |= {f"GetFunction {name}, p50 ms": got.quantile_ms(0.5), f"GetFunction {name}, p99 ms": got.quantile_ms(0.99)}
    figures |= await _list(node, functions, name)
    figures[f"RSS {name}, MB"] = node.rss_mb()
    figures[f"start {name}, s"] = await node.restart()
    figures[f"RSS {name}, after a restart, MB"] = node.rss_mb()
    return figures


async def _list(node: ManyNode, functions: int, name: str) -> dict[str, Any]:
    """Walk all pages, as a paginator does; the time of the first tenth of pages and of the last."""
    times, marker, found = [], "", 0
    while True:
        query = "?MaxItems=50" + (f"&Marker={marker}" if marker else "")
        request = node.sign("GET", f"/2015-03-31/functions/{query}")
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        page = json.loads(await reader.readexactly(length))
        times.append(time.perf_counter() - began)
        writer.close()
        found += len(page["Functions"])
        marker = page.get("NextMarker", "")
        if not marker:
            break
    if found != functions + 1:
        raise RuntimeError(f"{found} functions are listed, not {functions + 1}")
    tenth = max(1, len(times) // 10)
    figures = {f"ListFunctions {name}, a page of 50, p50 ms": sorted(times)[len(times) // 2] * 1000}
    return figures | {f"ListFunctions {name}, the last pages in the time of the first": sum(times[-tenth:]) / sum(times[:tenth])}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.many", description="Very many functions on one server, without sandboxes.")
    parser.add_argument("--functions", type=int, default=FUNCTIONS)
    parser.add_argument("--directory", default="/var/tmp", help="where its data are: on a disk, each creation waits for it twice")
    options = parser.parse_args()
    figures = uvloop.run(measure(None, 1.0, options.functions, options.directory))
    width = max(map(len, figures))
    for name, figure in figures.items():
        print(f"{name:<{width}}  {figure:>12,.3f}")
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
