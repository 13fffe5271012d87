"""The Extensions API over HTTP, on the endpoint of the Runtime API."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from hanabi.base.clock import SystemClock
from hanabi.runtime.api import RuntimeApi
from hanabi.runtime.extensions import Extensions
from tests.unit.runtime.host import Story, invocation
from tests.unit.runtime.served import Runtime
from tests.waiting import until

PREFIX = "/2020-01-01/extension/"
REGISTER, NEXT = PREFIX + "register", PREFIX + "event/next"
BOTH = b'{"events":["INVOKE","SHUTDOWN"]}'
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NOBODY = "00000000-0000-4000-8000-000000000000"


class Served:
    def __init__(self, extensions: Extensions, port: int) -> None:
        self.extensions = extensions
        self._port = port
        self._clients: list[Runtime] = []

    def client(self) -> Runtime:
        self._clients.append(Runtime(self._port))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.connection.close()


@asynccontextmanager
async def serving(*names: str, bundled: bool = True) -> AsyncIterator[Served]:
    story, extensions = Story(), Extensions(invocation().route.version)
    for name in names:
        extensions.expect(name)
    sock = socket.create_server(("127.0.0.1", 0))
    server = await RuntimeApi(story.session, bundled=bundled, extensions=lambda: extensions).serve(sock, clock=SystemClock())
    served = Served(extensions, sock.getsockname()[1])
    try:
        yield served
    finally:
        story.session.close()
        served.close()
        await server.close()


async def register(client: Runtime, name: str, body: bytes = BOTH, **headers: str) -> str:
    status, _ = await client.ask("POST", REGISTER, body, Lambda_Extension_Name=name, **headers)
    assert status == 200
    return client.headers["lambda-extension-identifier"]


@pytest.mark.parametrize("bundled", [True, False])
async def test_an_extension_registers_and_gets_its_events(bundled: bool) -> None:
    async with serving("tool", bundled=bundled) as served:
        client = served.client()
        status, body = await client.ask("POST", REGISTER, BOTH, Lambda_Extension_Name="tool", Lambda_Extension_Accept_Feature="accountId")
        assert (status, client.headers["content-type"]) == (200, "application/json")
        assert json.loads(body) == {
            "functionName": "demo", "functionVersion": "$LATEST", "handler": "app.handler", "accountId": "000000000000",
        }  # fmt: skip
        identifier = client.headers["lambda-extension-identifier"]
        assert UUID.fullmatch(identifier)
        asking = asyncio.ensure_future(client.ask("GET", NEXT, Lambda_Extension_Identifier=identifier))
        await until(lambda: served.extensions.are_ready)
        served.extensions.invoke(invocation())
        status, body = await asking
        assert status == 200 and json.loads(body)["requestId"] == "id-1"
        assert UUID.fullmatch(client.headers["lambda-extension-event-identifier"])
        (extension,) = served.extensions
        served.extensions.shut_down(extension, "spindown", 9)
        status, body = await client.ask("GET", NEXT, Lambda_Extension_Identifier=identifier.upper())
        assert (status, body) == (200, b'{"eventType":"SHUTDOWN","deadlineMs":9,"shutdownReason":"spindown"}')


async def test_errors_have_awss_types_and_texts() -> None:
    async with serving("tool") as served:
        client = served.client()
        identifier = await register(client, "tool")
        header = {"Lambda_Extension_Identifier": identifier}
        for method, path, headers, kind, message in [
            ("POST", REGISTER, {}, "Extension.InvalidExtensionName", "Empty extension name"),
            ("GET", NEXT, {}, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"),
            (
                "GET",
                NEXT,
                {"Lambda_Extension_Identifier": "x"},
                "Extension.InvalidExtensionIdentifier",
                "Invalid Lambda-Extension-Identifier",
            ),
            (
                "GET",
                NEXT,
                {"Lambda_Extension_Identifier": NOBODY},
                "Extension.UnknownExtensionIdentifier",
                f"Unknown extension {NOBODY}",
            ),
            (
                "POST",
                PREFIX + "init/error",
                header,
                "Extension.MissingHeader",
                "Lambda-Extension-Function-Error-Type not found",
            ),
        ]:
            status, body = await client.ask(method, path, b"" if method == "POST" else None, **headers)
            assert (status, json.loads(body)) == (403, {"errorType": kind, "errorMessage": message})


@pytest.mark.parametrize("what", ["init/error", "exit/error"])
async def test_errors_that_an_extension_reports(what: str) -> None:
    async with serving("tool") as served:
        client = served.client()
        headers = {"Lambda_Extension_Identifier": await register(client, "tool"), "Lambda_Extension_Function_Error_Type": "Tool.Broken"}
        assert await client.ask("POST", PREFIX + what, b'{"errorMessage":"no"}', **headers) == (202, b'{"status":"OK"}\n')
        assert (await client.ask("POST", PREFIX + what, b"", **headers))[0] == 202  # again
        (extension,) = served.extensions
        assert extension.error_type == "Tool.Broken"


async def test_other_paths_and_methods_are_not_there() -> None:
    async with serving() as served:
        client = served.client()
        for method, path in [("GET", REGISTER), ("POST", NEXT), ("GET", PREFIX), ("POST", PREFIX + "exit")]:
            assert (await client.ask(method, path, b"" if method == "POST" else None))[0] == 404


async def test_one_that_hangs_up_may_ask_again_and_misses_nothing() -> None:
    async with serving("tool") as served:
        client = served.client()
        identifier = await register(client, "tool")
        client.connection.request("GET", NEXT, headers={"Lambda-Extension-Identifier": identifier})
        await until(lambda: served.extensions.are_ready)
        other = served.client()
        assert (await other.ask("GET", NEXT, Lambda_Extension_Identifier=identifier))[0] == 403
        client.connection.close()
        (extension,) = served.extensions
        await until(lambda: extension.deliver is None)
        served.extensions.invoke(invocation())
        assert (await other.ask("GET", NEXT, Lambda_Extension_Identifier=identifier))[0] == 200


async def test_a_body_has_a_limit() -> None:
    async with serving("tool") as served:
        status, _ = await served.client().ask("POST", REGISTER, b" " * (64 * 1024 + 1), Lambda_Extension_Name="tool")
        assert status == 413


async def test_a_connection_for_every_extension_at_once() -> None:
    names = [f"tool-{number}" for number in range(10)]
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(names)))  # each request waits in a thread
    async with serving(*names) as served:
        waiting = []
        for name in names:
            client = served.client()
            identifier = await register(client, name)
            waiting.append(asyncio.ensure_future(client.ask("GET", NEXT, Lambda_Extension_Identifier=identifier)))
        await until(lambda: served.extensions.are_ready)
        served.extensions.invoke(invocation())
        assert {status for status, _ in await asyncio.gather(*waiting)} == {200}


async def test_before_there_is_a_function_nobody_may_register() -> None:
    story = Story()
    sock = socket.create_server(("127.0.0.1", 0))
    server = await RuntimeApi(story.session, bundled=True).serve(sock, clock=SystemClock())
    client = Runtime(sock.getsockname()[1])
    try:
        status, body = await client.ask("POST", REGISTER, BOTH, Lambda_Extension_Name="tool")
        assert (status, json.loads(body)["errorType"]) == (403, "Extension.RegistrationClosed")
    finally:
        client.connection.close()
        await server.close()
