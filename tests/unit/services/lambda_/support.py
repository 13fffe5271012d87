"""The Lambda service behind a real edge on a real port, with doubles for what runs functions."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from hanabi.base.clock import SystemClock
from hanabi.contracts.functions import Allocation, Route
from hanabi.contracts.invocation import Cancellable, Invocation, OnResult, Result
from hanabi.contracts.journal import Record
from hanabi.control.arns import AccountRegion
from hanabi.control.attachments import NOTHING, Attachments
from hanabi.control.code_signing.signatures import ZipSignatures
from hanabi.control.dependencies import CodeObjects
from hanabi.control.plane import ControlPlane, open_control_plane
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.errors import TooManyRequests
from hanabi.http.limits import Limits
from hanabi.http.server import HttpServer
from hanabi.images.code.code_store import CodeStore
from hanabi.images.code.signing_keys import SigningProfiles
from hanabi.images.layers.layer_sets import LayerSets
from hanabi.services.lambda_ import LambdaService
from hanabi.store.sqlite import SqliteStore
from hanabi.testing.body import Pieces
from hanabi.testing.invoker import FakeInvoker
from tests.server import zip_of
from tests.unit.control.support import ACCOUNT, PLANE_FORMATS, REGION, ROLE, FakeContainers, FakeImages
from tests.unit.http.live import listen

CODE = zip_of({"app.py": "def handler(event, context): return event"})


@dataclass
class EchoInvoker(FakeInvoker):
    """Every function returns its event. Those named `throttled`, `failing` and `streaming` do what they say."""

    seen: list[Invocation] = field(default_factory=list)

    def start(self, invocation: Invocation, on_end: OnResult) -> Cancellable:
        task = asyncio.get_running_loop().create_task(self.invoke(invocation))
        task.add_done_callback(lambda done: on_end(done.exception() or done.result()))  # type: ignore[arg-type]
        return task

    async def invoke(self, invocation: Invocation) -> Result:
        self.seen.append(invocation)
        version = invocation.route.version
        if version.name == "throttled":
            raise TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded")
        record = Record(
            request_id=invocation.request_id,
            function=version.name,
            version=version.version,
            memory_mb=version.memory_mb,
            started_ms=0,
            duration_ms=1.0,
            billed_ms=1,
            init_ms=None,
            max_memory_mb=1,
            status="success",
            error_type=None,
            environment="e",
            source=invocation.source,
        )
        error = "Unhandled" if version.name == "failing" else None
        tail = b"START RequestId: x\n" if invocation.tail else b""
        payload = Pieces(invocation.payload) if version.name == "streaming" else invocation.payload
        return Result(payload=payload, function_error=error, version=version.version, log_tail=tail, record=record)


@dataclass
class ListQueue:
    events: list[dict[str, Any]] = field(default_factory=list)

    async def put(self, route: Route, payload: bytes, *, request_id: str, client_context: str, trace: str, qualifier: str | None) -> None:
        self.events.append(
            {
                "function": route.version.name,
                "payload": payload,
                "request_id": request_id,
                "client_context": client_context,
                "trace": trace,
                "qualifier": qualifier,
            }
        )


@dataclass
class Live:
    client: Any
    images: FakeImages
    containers: FakeContainers
    invoker: EchoInvoker
    queue: ListQueue
    control: ControlPlane
    allocations: dict[str, Allocation]  # of provisioned concurrency, by `FunctionVersion.key`: set by the test
    loop: asyncio.AbstractEventLoop
    profiles: SigningProfiles

    def create(self, name: str, **options: Any) -> dict[str, Any]:
        """A function that is active; what CreateFunction answered."""
        settings = {"Runtime": "python3.11", "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": CODE}} | options
        given = {member: value for member, value in settings.items() if value is not None}
        made: dict[str, Any] = self.client.create_function(FunctionName=name, **given)
        self.client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})
        return made

    def invoke(self, name: str, **options: Any) -> dict[str, Any]:
        """What Invoke answered, `Payload` read."""
        answer: dict[str, Any] = self.client.invoke(FunctionName=name, **options)
        with answer["Payload"] as payload:
            return answer | {"Payload": payload.read()}

    def settle(self, name: str) -> None:
        self.client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.02, "MaxAttempts": 500})


@contextmanager
def live_lambda(directory: Path, objects: CodeObjects | None = None, attachments: Attachments = NOTHING) -> Iterator[Live]:
    clock = SystemClock()
    keys = KeyRing.open(directory / "keys.json", region=REGION, account=ACCOUNT, clock=clock)
    profiles = SigningProfiles(directory)
    spool = directory / "spool"
    spool.mkdir()
    sock, port = listen()
    ready = threading.Event()
    stop: asyncio.Event
    lives: list[Live] = []
    client = boto3.client(
        "lambda",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=keys.root.access_key,
        aws_secret_access_key=keys.root.secret_key,
        config=Config(retries={"max_attempts": 0}, parameter_validation=False, read_timeout=30),
    )

    async def main() -> None:
        nonlocal stop
        stop = asyncio.Event()
        store, code, images = SqliteStore(directory / "state.db", PLANE_FORMATS), CodeStore(directory / "code"), FakeImages()
        containers = FakeContainers()
        await store.open()
        await code.open()
        layer_sets = LayerSets(directory / "layers", code.place)
        await layer_sets.open()
        plane = open_control_plane(
            store,
            code,
            layer_sets,
            images,
            clock,
            AccountRegion(ACCOUNT, REGION),
            url_for=lambda url_id: f"http://{url_id}.lambda-url.localhost:{port}/",
            containers=containers,
            signatures=ZipSignatures(code.zip_path, profiles, clock),
            objects=objects,
            attachments=attachments,
        )
        control = await plane.__aenter__()
        invoker, queue = EchoInvoker(), ListQueue()
        allocations: dict[str, Allocation] = {}
        service = LambdaService(control, invoker, queue, clock, allocation=lambda key: allocations.get(key, Allocation()))
        edge = Edge([service], keys, clock, REGION, spool=spool)
        server = await HttpServer(edge.handle, clock=clock, limits=Limits(body=edge.body_rule), spool=spool, refuse=edge.refuse).listen(
            sock
        )
        lives.append(Live(client, images, containers, invoker, queue, control, allocations, asyncio.get_running_loop(), profiles))
        ready.set()
        await stop.wait()
        await server.close()
        await plane.__aexit__(None, None, None)
        await store.close()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield lives[0]
    finally:
        client.close()
        lives[0].loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def fails(code: str, status: int, message: str, call: Any, **params: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert message in response["Error"]["Message"]
