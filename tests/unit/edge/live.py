"""An edge with small services, served from a thread, so that the real (blocking) clients can be pointed at it."""

import asyncio
import queue
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.authorize import Authorizer
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.own_endpoints import OwnEndpoint
from hanabi.edge.service import DOCUMENT, Call, Operation, Params, RequestBody, RequiredPermission, Service
from hanabi.errors import ApiError, InvalidZipFile, RequestTooLarge, ResourceNotFound, TooManyRequests
from hanabi.http.limits import BodyRule, Limits
from hanabi.http.server import HttpServer
from hanabi.services.iam.service import IamService
from hanabi.services.lambda_.bodies import CODE, PAYLOAD
from hanabi.services.lambda_.code_download import CodeEndpoint
from hanabi.services.lambda_.code_upload import LIMIT_BYTES
from hanabi.services.lambda_.payload import check_payload
from hanabi.services.own.health import AliveEndpoint
from hanabi.services.sts import StsService
from hanabi.testing.store import MemoryStore
from tests.unit.http.live import listen

REGION = "us-east-1"
ACCOUNT = "000000000000"


PLACE = AccountRegion(ACCOUNT, REGION)
Handle = Callable[[Call, Params, Any], Coroutine[Any, Any, Params]]


def on_function(name: str, handler: Handle, body: RequestBody = DOCUMENT) -> Operation[Any]:
    """An operation on whatever function is named, authorised as the real ones are."""
    action = "lambda:InvokeFunction" if name == "Invoke" else f"lambda:{name}"

    def resolve(params: Params) -> str:
        name = params.get("FunctionName")
        return PLACE.arn(*PLACE.parse(name, params.get("Qualifier"))) if name else "*"

    return Operation(handler, resolve, lambda arn, params: [RequiredPermission(action, arn)], body=body)


def on_all(target: None, params: Params) -> list[RequiredPermission]:
    return [RequiredPermission("logs:Any", "*")]


@dataclass
class FakeService(Service):
    """Handlers that remember their calls and answer something fixed."""

    name: str
    operations: Mapping[str, Operation[Any]] = field(default_factory=dict)
    calls: list[tuple[Call, dict[str, Any]]] = field(default_factory=list)


class GatedEvents:
    """Events of a response stream: `let_go` one from the test's thread, None for the end."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, dict[str, Any]] | ApiError | None] = queue.Queue()
        self.closed = threading.Event()

    def let_go(self, event: tuple[str, dict[str, Any]] | ApiError | None) -> None:
        self._queue.put(event)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, dict[str, Any]]:
        event = await asyncio.to_thread(self._queue.get, timeout=30)
        if event is None:
            raise StopAsyncIteration
        if isinstance(event, ApiError):
            raise event
        return event

    async def aclose(self) -> None:
        self.closed.set()
        self._queue.put(None)  # for a thread that waits still


class FakeLambda(FakeService):
    def __init__(self, kept: Path) -> None:
        super().__init__("lambda")
        self.kept = kept  # where uploads are moved
        self.edge: Edge | None = None
        self.events = GatedEvents()
        handlers = {
            "CreateFunction": self.create,
            "GetFunction": self.get,
            "GetFunctionConfiguration": self.answer(
                {"LastModified": "2026-11-24T10:00:00.000+0000", "MemorySize": 128, "Unknown": 1, "Role": None}
            ),
            "ListFunctions": self.answer({"Functions": [{"FunctionName": "a"}], "NextMarker": "m"}),
            "DeleteFunction": self.answer({"StatusCode": 204}),
            "Invoke": self.invoke,
            "InvokeWithResponseStream": self.stream,
            "UntagResource": self.answer({}),
            "ListTags": self.answer({"Tags": {"k": "v"}}),
            "CreateAlias": self.answer({"Name": "x"}),
            "GetFunctionUrlConfig": self.answer({}),
            "GetAccountSettings": self.throttle,
            "GetLayerVersionByArn": self.answer({"Version": 3}),
            "ListLayers": self.answer({"Layers": []}),
            "CreateEventSourceMapping": self.answer({"UUID": "u", "LastModified": 1_795_000_000.5, "State": "Enabled"}),
        }
        bodies = {"CreateFunction": CODE, "Invoke": PAYLOAD}
        self.operations = {name: on_function(name, handler, bodies.get(name, DOCUMENT)) for name, handler in handlers.items()}

    def answer(self, result: dict[str, Any]) -> Handle:
        async def handle(call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
            self.calls.append((call, params))
            return result

        return handle

    async def create(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        self.calls.append((call, params))
        code = params["Code"].get("ZipFile", b"")
        if isinstance(code, Path):
            shutil.move(code, self.kept / "code")
        elif code == b"bad":
            raise InvalidZipFile("Could not unzip uploaded file. Please check your file, then try to upload again.")
        return {"FunctionName": params["FunctionName"], "CodeSize": len(code) if isinstance(code, bytes) else -1}

    async def stream(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        """Events, each of which waits until the test lets it go."""
        self.calls.append((call, params))
        return {"StatusCode": 200, "ExecutedVersion": "$LATEST", "EventStream": self.events}

    async def get(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        self.calls.append((call, params))
        raise ResourceNotFound(f"Function not found: arn:aws:lambda:{call.region}:{ACCOUNT}:function:{params['FunctionName']}")

    async def throttle(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        raise TooManyRequests("ConcurrentInvocationLimitExceeded") if "crash" not in call.request.query else RuntimeError("boom")

    async def invoke(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        self.calls.append((call, params))
        assert self.edge is not None
        await check_payload(params["Payload"], params.get("InvocationType", ""), self.edge.api.workers)
        if params["FunctionName"] == "too-large":
            raise RequestTooLarge("x")
        log = {"LogResult": "bG9n"} if params.get("LogType") == "Tail" else {}
        return {"StatusCode": 200, "Payload": params["Payload"], "ExecutedVersion": "$LATEST", "FunctionError": "Unhandled"} | log


class FakeLogs(FakeService):
    def __init__(self) -> None:
        super().__init__("logs")
        self.operations = {
            "DescribeLogGroups": Operation(self.describe, lambda params: None, on_all),
            "GetLogEvents": Operation(self.missing, lambda params: None, on_all),
        }

    async def describe(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        self.calls.append((call, params))
        return {"logGroups": [{"logGroupName": "/aws/lambda/a", "creationTime": 1, "storedBytes": 0}], "nextToken": None}

    async def missing(self, call: Call, params: dict[str, Any], target: Any) -> dict[str, Any]:
        raise ResourceNotFound("The specified log group does not exist.")


class Gateway:
    """A frontend that answers with what it was sent."""

    draining = False

    def serves(self, host: str) -> bool:
        return ".lambda-url." in host

    async def handle(self, request: HttpRequest) -> HttpResponse:
        assert isinstance(request.body, bytes)
        return HttpResponse(200, [("x-gateway", request.header("host"))], request.body)

    def body_rule(self, request: HttpRequest) -> BodyRule:
        return BodyRule(1 << 20)

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        return HttpResponse(413, [("x-gateway", "")])


@dataclass
class Live:
    endpoint: str
    port: int
    inside_port: int  # a socket as in an environment, for `inside_key` alone
    edge: Edge
    keys: KeyRing
    functions: FakeLambda
    logs: FakeLogs
    inside: Any  # contracts.Credentials
    code: CodeEndpoint

    def client(self, service: str, **options: Any) -> Any:
        key = self.keys.root
        settings: dict[str, Any] = {
            "endpoint_url": self.endpoint,
            "region_name": REGION,
            "aws_access_key_id": key.access_key,
            "aws_secret_access_key": key.secret_key,
            "config": Config(retries={"max_attempts": 0}, parameter_validation=False, read_timeout=30),
        }
        return boto3.client(service, **(settings | options))

    def inside_client(self, service: str, **options: Any) -> Any:
        credentials = {
            "aws_access_key_id": self.inside.access_key,
            "aws_secret_access_key": self.inside.secret_key,
            "aws_session_token": self.inside.session_token,
        }
        return self.client(service, **({"endpoint_url": f"http://127.0.0.1:{self.inside_port}"} | credentials | options))


class FakeZips:
    """One zip, whatever is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_bytes(b"PK")

    def zip_path(self, sha256: str) -> Path:
        return self._path


@contextmanager
def live_edge(directory: Path) -> Iterator[Live]:
    """A running edge with IAM, STS and the fakes."""
    clock, store = SystemClock(), MemoryStore()
    keys = KeyRing.open(directory / "keys.json", region=REGION, account=ACCOUNT, clock=clock)
    spool = directory / "spool"
    spool.mkdir()
    functions, logs, iam = FakeLambda(directory), FakeLogs(), IamService(store, clock, PLACE, keys=keys)

    async def own(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, [("content-type", "application/json")], b'{"own": true}')

    sock, port = listen()
    inside_sock, inside_port = listen()
    ready = threading.Event()
    stop: asyncio.Event
    loop: asyncio.AbstractEventLoop
    lives: list[Live] = []

    async def main() -> None:
        nonlocal stop, loop
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        services: list[Service] = [functions, logs, iam, StsService(keys, iam.find_role)]
        code = CodeEndpoint(FakeZips(directory / "zip"), keys, clock)
        edge = Edge(
            services,
            keys,
            clock,
            REGION,
            frontends=[Gateway()],
            endpoints=[
                OwnEndpoint("usage", own),
                AliveEndpoint(REGION, keys.root.access_key, lambda: False).endpoints[0],
                OwnEndpoint("uploads", own, ("PUT",), body=BodyRule(LIMIT_BYTES, spool=True, known=True)),
                *code.endpoints,
            ],
            authorize=Authorizer(iam.find_identity, clock, PLACE),
            spool=spool,
        )
        functions.edge = edge
        inside = keys.issue(f"arn:aws:iam::{ACCOUNT}:role/service/inside", "function", PLACE.arn("function"))
        limits = Limits(body=edge.body_rule)
        outer = await HttpServer(edge.handle, clock=clock, limits=limits, spool=spool, refuse=edge.refuse).listen(sock)
        inner = await HttpServer(
            edge.handler_for(inside.access_key),
            clock=clock,
            limits=Limits(body=edge.body_rule_for(inside.access_key)),
            spool=spool,
            refuse=edge.api.refuse,
        ).listen(inside_sock)
        lives.append(Live(f"http://127.0.0.1:{port}", port, inside_port, edge, keys, functions, logs, inside, code))
        ready.set()
        await stop.wait()
        await outer.close()
        await inner.close()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield lives[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
    assert list(spool.iterdir()) == []
