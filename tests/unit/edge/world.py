"""All services behind an edge, in one process and without sockets: for attacks on who may do what, thousands in a few seconds."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.serialize
from botocore.awsrequest import prepare_request_dict

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest
from hanabi.control.plane import ControlPlane
from hanabi.control.resource_policies import policy_text
from hanabi.edge.auth.authorize import Authorizer
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.protocols.model import load
from hanabi.edge.service import Service
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.services.lambda_ import LambdaService
from hanabi.services.logs.service import LogsService
from hanabi.services.sts import StsService
from hanabi.testing.store import MemoryStore
from tests.unit.control.support import ARN, create_params, open_plane
from tests.unit.edge.answers import answer_of
from tests.unit.edge.live import ACCOUNT, PLACE, REGION
from tests.unit.edge.signing import sign
from tests.unit.ledger.support import RecordStore, open_record

FUNCTION = ARN  # arn:aws:lambda:...:function
GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
ROLE = f"arn:aws:iam::{ACCOUNT}:role"
ENDPOINT = "http://127.0.0.1:9555"
TRUST_LAMBDA = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}}
TRUST_ACCOUNT = {"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}}


@dataclass(frozen=True)
class Answer:
    status: int
    code: str  # of an error
    message: str
    body: bytes

    @property
    def denied(self) -> bool:
        return self.status in (400, 403) and self.code in ("AccessDeniedException", "AccessDenied")

    @property
    def json(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.body)
        return answer


@dataclass
class World:
    edge: Edge
    keys: KeyRing
    iam: IamService
    control: ControlPlane
    record: RecordStore
    store: MemoryStore
    authorizer: Authorizer
    roles: ExecutionRoles

    async def ask(self, key: Any, service: str, operation: str, **params: Any) -> Answer:
        """One call, as botocore writes it; it does not look at the parameters itself."""
        return await self.send(make_request(key, service, operation, params), service)

    async def send(self, request: HttpRequest, service: str) -> Answer:
        response = await answer_of(self.edge.handle, request)
        headers, body = dict(response.headers), response.body
        if request.header("x-amz-target").endswith("StartLiveTail") and not isinstance(body, bytes):
            await body.aclose()  # it has no end
            body = b""
        if not isinstance(body, bytes):
            body = b"".join([bytes(part) async for part in body])
        code = headers.get("x-amzn-errortype", "")
        message = ""
        if response.status >= 400 and service in ("iam", "sts"):
            code, message = (body.partition(tag)[2].partition(b"<")[0].decode() for tag in (b"<Code>", b"<Message>"))
        elif response.status >= 400:
            found = json.loads(body)
            message = str(found.get("message") or found.get("Message") or "")
        return Answer(response.status, code, message, body)

    async def function(self, name: str, **changes: Any) -> None:
        """An active function with a version 1 and an alias `live` of it."""
        await self.control.deployment.create(name, create_params(name, Publish=True, **changes))
        await self.control.wait_idle()
        assert (await self.ask(self.keys.root, "lambda", "CreateAlias", FunctionName=name, Name="live", FunctionVersion="1")).status == 201

    async def role(self, name: str, *statements: dict[str, Any], trust: Any = TRUST_LAMBDA, path: str = "/", attached: str = "") -> str:
        """The ARN of a new role with one policy of these statements, or with none."""
        owner = self.keys.root
        made = await self.ask(owner, "iam", "CreateRole", RoleName=name, Path=path, AssumeRolePolicyDocument=json.dumps(trust))
        assert made.status == 200, made
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            put = await self.ask(owner, "iam", "PutRolePolicy", RoleName=name, PolicyName="p", PolicyDocument=document)
            assert put.status == 200, put
        if attached:
            await self.ask(owner, "iam", "AttachRolePolicy", RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/{attached}")
        return f"{ROLE}{path}{name}"

    async def policy(self, name: str, *statements: dict[str, Any], path: str = "/") -> str:
        """The ARN of a new managed policy of these statements."""
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        made = await self.ask(self.keys.root, "iam", "CreatePolicy", PolicyName=name, Path=path, PolicyDocument=document)
        assert made.status == 200, made
        return f"{ROLE.removesuffix('role')}policy{path}{name}"

    async def user(self, name: str, *statements: dict[str, Any], path: str = "/") -> Any:
        """The key of a new user with one policy of these statements, or with none."""
        owner = self.keys.root
        made = await self.ask(owner, "iam", "CreateUser", UserName=name, Path=path)
        assert made.status == 200, made
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
            await self.ask(owner, "iam", "PutUserPolicy", UserName=name, PolicyName="p", PolicyDocument=document)
        made = await self.ask(owner, "iam", "CreateAccessKey", UserName=name)
        return self.keys.lookup(made.body.partition(b"<AccessKeyId>")[2].partition(b"<")[0].decode())

    async def session(self, name: str, *statements: dict[str, Any], function: str = "", **options: Any) -> Any:
        """Credentials of a new role; as in an environment of a function, if one is named."""
        arn = await self.role(name, *statements, **options)
        return (
            self.keys.issue(arn, function, PLACE.arn(function))
            if function
            else self.keys.assume(arn, "session", 900, self.keys.root.principal)
        )

    def describe(self, function: str) -> str:
        """All that can be changed of a function, as text."""
        found = self.control.functions.get(function)
        return repr(found) + "".join(policy_text(policy) for policy in found.policies.values()) if found else ""


def make_request(key: Any, service: str, operation: str, params: dict[str, Any], region: str = REGION) -> HttpRequest:
    model = load(service)
    serializer = botocore.serialize.create_serializer(model.protocol, include_validation=False)
    shape = model.operation(operation).input_shape
    known = {member: value for member, value in params.items() if shape is not None and member in shape.members}
    request = serializer.serialize_to_request(known, model.operation(operation))
    prepare_request_dict(request, ENDPOINT)
    body = request["body"]
    if isinstance(body, dict):
        body = urlencode(body).encode()
    headers = {name: str(value) for name, value in request["headers"].items()}
    sent = body.encode() if isinstance(body, str) else body
    return sign(key, request["method"], request["url"], sent, service=service, region=region, headers=headers)


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return allow(action, resource, **more) | {"Effect": "Deny"}


@asynccontextmanager
async def open_world(directory: Path, *, lenient: bool = False, any_role: bool = True) -> AsyncIterator[World]:
    from tests.unit.services.lambda_.support import EchoInvoker, ListQueue

    store, clock = MemoryStore(), SystemClock()  # botocore signs by the real time
    async with open_plane(directory) as plane, open_record(directory, clock) as record:
        keys = KeyRing.open(directory / "keys.json", region=REGION, account=ACCOUNT, clock=clock)
        roles = ExecutionRoles(PLACE, any_role=any_role)
        iam = IamService(store, clock, PLACE, roles.changed, keys=keys)
        authorizer = Authorizer(iam.find_identity, clock, PLACE, lenient=lenient, note_use=keys.note_use)
        services: list[Service] = [
            LambdaService(plane.control, EchoInvoker(), ListQueue(), clock, roles=roles),
            iam,
            StsService(keys, iam.find_role, iam.find_document, clock),
            LogsService(record.logs, clock, PLACE),
        ]
        edge = Edge(services, keys, clock, REGION, authorize=authorizer)
        yield World(edge, keys, iam, plane.control, record, store, authorizer, roles)
