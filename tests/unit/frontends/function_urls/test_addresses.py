"""Function URLs at addresses of their own."""

import asyncio
import ipaddress
import socket

from hanabi.base.clock import SystemClock
from hanabi.base.health import Health
from hanabi.contracts.http import AsyncHttpHandler, HttpRequest, HttpResponse
from hanabi.frontends.function_urls.addresses import UrlAddresses, address_of
from tests.server import free_port

FIRST, SECOND = "a" * 32, "b" * 32


def handler_of(url_id: str) -> AsyncHttpHandler:
    async def handle(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [], f"{url_id[0]} {request.path} {request.header('host')}".encode())

    return handle


async def ask(address: str, port: int, path: str, host: str) -> str:
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_addresses_are_of_this_host_and_not_the_apis() -> None:
    addresses = {address_of(f"{number:032d}") for number in range(1000)}
    assert len(addresses) >= 999
    assert all(ipaddress.ip_address(address) in ipaddress.ip_network("127.128.0.0/9") for address in addresses)
    assert address_of(FIRST) == address_of(FIRST) != address_of(SECOND)


async def test_an_address_belongs_to_its_url_whatever_is_asked_for() -> None:
    port, health = free_port(), Health()
    urls = UrlAddresses(port, handler_of, SystemClock(), health)
    urls.add(FIRST)
    urls.add(SECOND)
    for path in ("/x", "/_hanabi/health", "/2015-03-31/functions/"):
        for host in ("localhost", "127.0.0.1", f"{SECOND}.lambda-url.localhost", address_of(SECOND)):
            assert await ask(address_of(FIRST), port, path, host) == f"a {path} {host}"
    assert await ask(address_of(SECOND), port, "/", "x") == "b / x"
    urls.remove(FIRST)
    await urls.close()
    assert health.problems == []
    for url_id in (FIRST, SECOND):
        with socket.socket() as probe:
            assert probe.connect_ex((address_of(url_id), port)) != 0


async def test_an_address_that_is_taken_is_said() -> None:
    health = Health()
    with socket.create_server((address_of(FIRST), 0)) as taken:
        urls = UrlAddresses(taken.getsockname()[1], handler_of, SystemClock(), health)
        urls.add(FIRST)
        assert "use its name" in health.problems[0].text
        urls.remove(FIRST)
        assert health.problems == []
        await urls.close()
