"""The load: closed-loop HTTP clients that send one prepared request again and again and time each answer."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast


@dataclass(frozen=True, slots=True)
class Latencies:
    """Answer times of one run, seconds, sorted; `elapsed` is the wall time of all of them together."""

    times: list[float]
    elapsed: float
    failures: int

    def quantile_ms(self, q: float) -> float:
        return self.times[min(len(self.times) - 1, int(q * len(self.times)))] * 1000

    @property
    def rate(self) -> float:
        return len(self.times) / self.elapsed


def cpu_s(pid: int) -> float:
    """CPU time of all threads of a process so far, user and system, to the nanosecond."""
    return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


class LoadClient(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last one is whole."""

    def __init__(self, requests: Sequence[bytes], count: int, pause_s: float, done: "asyncio.Future[None]") -> None:
        self.requests = itertools.cycle(requests)
        self.left = count
        self.pause_s = pause_s
        self.done = done
        self.times: list[float] = []
        self.failures = 0
        self.buffer = b""
        self.missing = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.missing < 0:
            head, separator, rest = self.buffer.partition(b"\r\n\r\n")
            if not separator:
                return
            lower = head.lower()
            at = lower.find(b"content-length:")
            self.missing = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self.good = head[9:10] == b"2" and b"x-amz-function-error" not in lower
            self.buffer = rest
        if len(self.buffer) >= self.missing:
            self.answered()

    def answered(self) -> None:
        self.times.append(time.perf_counter() - self.began)
        self.failures += not self.good
        self.buffer = b""
        self.missing = -1
        self.left -= 1
        if not self.left:
            self.transport.close()
        elif self.pause_s:
            asyncio.get_running_loop().call_later(self.pause_s, self.send)
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.failures += self.left
        if not self.done.done():
            self.done.set_result(None)


async def run(port: int, request: bytes | Sequence[bytes], *, clients: int, count: int, pause_s: float = 0.0) -> Latencies:
    """`clients` connections, `count` requests on each (several are sent in turn), `pause_s` between an answer and the next request."""
    requests = [request] if isinstance(request, bytes) else request
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    protocols = []
    for _ in range(clients):
        _, protocol = await loop.create_connection(lambda: LoadClient(requests, count, pause_s, loop.create_future()), "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.gather(*(each.done for each in protocols))
    elapsed = time.perf_counter() - began
    return Latencies(sorted(t for each in protocols for t in each.times), elapsed, sum(each.failures for each in protocols))
