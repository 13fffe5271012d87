"""The host's side of a runtime for tests: a session whose callbacks are written down."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from hanabi.contracts.body import ByteStream
from hanabi.contracts.functions import Concurrency, FunctionVersion, Route
from hanabi.contracts.invocation import Invocation, OnStream
from hanabi.runtime.session import RuntimeSession

PATIENCE_S = 20.0


class Story:
    """What a session told its owner, in order; `happens` waits for the next thing."""

    def __init__(self, *, streams: bool = False) -> None:
        self.told: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self.streams: list[ByteStream] = []  # of the answers that came so
        self.on_stream = self._take_stream if streams else None  # for the invocations
        self.session = RuntimeSession(
            on_ready=lambda: self.told.put_nowait(("ready",)),
            on_init_error=lambda payload, kind: self.told.put_nowait(("init error", payload, kind)),
            on_result=lambda payload: self.told.put_nowait(("result", payload)),
            on_error=lambda payload, kind: self.told.put_nowait(("error", payload, kind)),
            on_violation=lambda reason: self.told.put_nowait(("violation", reason)),
        )

    def _take_stream(self, stream: ByteStream, content_type: str) -> None:
        self.streams.append(stream)
        self.told.put_nowait(("stream", content_type))

    def so_far(self) -> list[tuple[object, ...]]:
        told = []
        while not self.told.empty():
            told.append(self.told.get_nowait())
        return told

    async def happens(self) -> tuple[object, ...]:
        return await asyncio.wait_for(self.told.get(), PATIENCE_S)


def make_version(**changes: Any) -> FunctionVersion:
    version = FunctionVersion(
        key="k",
        name="demo",
        version="$LATEST",
        arn="arn:aws:lambda:us-east-1:000000000000:function:demo",
        account="000000000000",
        region="us-east-1",
        runtime="python3.11",
        handler="app.handler",
        memory_mb=128,
        timeout_s=3,
        tmp_mb=512,
        environment={},
        role="",
        code=Path("/nowhere"),
        log_group="/aws/lambda/demo",
    )
    return replace(version, **changes)


def invocation(
    payload: bytes = b"{}", request_id: str = "id-1", *, trace: str = "", client_context: str = "", on_stream: OnStream | None = None
) -> Invocation:
    version = make_version()
    route = Route(version, version.arn, Concurrency("demo"))
    return Invocation(
        request_id=request_id,
        route=route,
        payload=payload,
        trace=trace,
        client_context=client_context,
        on_stream=on_stream,
        deadline_ms=4_000_000_000_000,
    )
