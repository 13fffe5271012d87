"""An extension in a fake sandbox: it speaks HTTP to the environment's Extensions API, and does what the test tells it to."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hanabi.testing.sandbox import FakeProcess, Killed
from tests.unit.fleet.rig import Rig

PREFIX = "/2020-01-01/extension/"
Event = dict[str, Any]


class Refused(Exception):
    """(status, error type)"""


class Client:
    """One extension's requests. `story` gets what it is told."""

    def __init__(self, process: FakeProcess, name: str, story: list[str]) -> None:
        self.process = process
        self.name = name
        self.story = story
        self.events: list[Event] = []
        self.identifier = ""
        self.told: Event = {}  # when it registered

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Event:
        await self.process.sandbox.thawed.wait()
        reader, writer = await asyncio.open_connection(*self.process.sandbox.runtime_api_address.split(":"))
        try:
            more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
            where = path if path.startswith("/") else PREFIX + path
            writer.write(f"{method} {where} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body)
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")[:-2]
            answered = dict(line.split(": ", 1) for line in lines)
            answer: Event = json.loads(await reader.readexactly(int(answered["content-length"])))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Killed(13) from None
        finally:
            writer.close()
        await self.process.sandbox.thawed.wait()
        if status.split()[1] not in ("200", "202"):
            raise Refused(int(status.split()[1]), answer["errorType"])
        self.identifier = answered.get("lambda-extension-identifier", self.identifier)
        return answer

    async def subscribe(self, path: str = "/2022-07-01/telemetry", **said: Any) -> Any:
        """Subscribe to telemetry. Raises `Refused`."""
        return await self.ask("PUT", path, json.dumps(said).encode(), Lambda_Extension_Identifier=self.identifier)

    async def register(self, *events: str) -> None:
        self.told = await self.ask("POST", "register", json.dumps({"events": events}).encode(), Lambda_Extension_Name=self.name)
        self.story.append(f"{self.name} registered")

    async def next(self) -> Event:
        event = await self.ask("GET", "event/next", Lambda_Extension_Identifier=self.identifier)
        self.events.append(event)
        self.story.append(f"{self.name} {event['eventType']}" + (f" {event['shutdownReason']}" if "shutdownReason" in event else ""))
        return event

    async def fail(self, when: str, error_type: str) -> None:
        await self.ask(
            "POST", f"{when}/error", b"{}", Lambda_Extension_Identifier=self.identifier, Lambda_Extension_Function_Error_Type=error_type
        )


Does = Callable[[Client], Awaitable[int | None]]


async def plain(client: Client) -> int | None:
    """Both events; it ends when it is told to."""
    await client.register("INVOKE", "SHUTDOWN")
    while (await client.next())["eventType"] != "SHUTDOWN":
        pass
    return 0


class Team:
    """The extensions of a rig's functions, by name: what each does. `opt` is their layer; `story` is what happens, in order."""

    def __init__(self, rig: Rig, directory: Path, **does: Does) -> None:
        self.opt = directory / "opt"
        self.story: list[str] = []
        self.clients: list[Client] = []
        self.processes: list[FakeProcess] = []
        self.does = does
        (self.opt / "extensions").mkdir(parents=True)
        for name in does:
            (self.opt / "extensions" / name).touch()
        rig.driver.extension = self._run

    async def _run(self, process: FakeProcess) -> int | None:
        name = process.argv[0].rsplit("/", 1)[1]
        client = Client(process, name, self.story)
        self.clients.append(client)
        self.processes.append(process)
        return await self.does[name](client)
