"""A server as a program of its own, so that its memory and descriptors can be looked at.

    python -m tests.unit.http.served FD DESCRIPTORS CONNECTIONS

It serves on the socket FD, and writes a line when it does. A request with the header `x-key` counts as signed.
"""

import asyncio
import resource
import socket
import sys

import uvloop

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.http.handlers import in_task
from hanabi.http.limits import Limits
from hanabi.http.server import HttpServer


async def answer(request: HttpRequest) -> HttpResponse:
    request.verified = bool(request.header("x-key"))
    return HttpResponse(200, [], b"ok")


async def main(descriptor: int, connections: int) -> None:
    limits = Limits(connections=connections, head_bytes=1 << 16, unauthenticated_head_bytes=1 << 14)
    await HttpServer(in_task(answer), clock=SystemClock(), limits=limits).listen(socket.socket(fileno=descriptor))
    print("serving", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    fd, descriptors, most = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    uvloop.run(main(fd, most))
