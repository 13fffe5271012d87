"""A running edge without sandboxes, with several accounts and regions, as a node wires it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.clock import SystemClock
from hanabi.contracts.http import HttpRequest
from hanabi.contracts.invocation import Invocation
from hanabi.contracts.store import Store
from hanabi.control.all_planes import AllPlanes
from hanabi.control.arns import AccountRegion
from hanabi.control.plane import ControlPlane
from hanabi.control.planes import ControlPlanes
from hanabi.control.record_names import RecordNames
from hanabi.edge.auth.authorize import Authorizer
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.own_endpoints import OwnEndpointGroup
from hanabi.edge.service import EachPlace, Service
from hanabi.ledger.logs import LogStore
from hanabi.services.iam.accounts import IamAccounts
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.services.lambda_ import LambdaService
from hanabi.services.lambda_.code_upload import Staging
from hanabi.services.logs.service import LogsService
from hanabi.services.own.environments import EnvironmentsEndpoint
from hanabi.services.own.health import HealthEndpoints
from hanabi.services.own.keys import KeysEndpoint
from hanabi.services.own.urls import UrlsEndpoint
from hanabi.services.own.usage import UsageEndpoint
from hanabi.services.sts import StsService
from hanabi.store.scoped import ScopedStore
from tests.unit.control.support import ACCOUNT, REGION, create_params, open_planes
from tests.unit.edge.answers import answer_of
from tests.unit.edge.signing import sign
from tests.unit.edge.world import ENDPOINT, Answer, make_request
from tests.unit.ledger.support import RecordStore, open_record

OTHER, ELSEWHERE = "111122223333", "eu-west-1"
ROWS = [
    {"account": account, "region": region, "function": name, "id": f"{account}-{region}"}
    for account, region, name in ((ACCOUNT, REGION, "mine"), (OTHER, REGION, "theirs"), (OTHER, ELSEWHERE, "theirs"), (None, None, None))
]


@dataclass
class Accounts:
    edge: Edge
    keys: KeyRing
    planes: ControlPlanes
    everything: AllPlanes
    record: RecordStore
    names: RecordNames
    invoked: list[Invocation]
    store: Store

    def invoked_of(self, account: str) -> list[str]:
        """The ARNs of an account's functions that were invoked, in order."""
        return [each.route.invoked_arn for each in self.invoked if each.route.version.account == account]

    async def store_of(self, account: str) -> list[tuple[str, Any, int]]:
        """All documents of an account."""
        return await self.store.list(f"{account}/")

    async def put(self, key: Any, body: bytes) -> dict[str, str]:
        """Upload code ahead; returns where it is."""
        status, answer = await self.own(key, "uploads", "PUT", body)
        assert status == 200
        found: dict[str, str] = answer
        return found

    async def ask(self, key: Any, service: str, operation: str, region: str = REGION, **params: Any) -> Answer:
        """One call, as botocore writes it."""
        return await self.send(make_request(key, service, operation, params, region), service)

    async def send(self, request: HttpRequest, service: str) -> Answer:
        response = await answer_of(self.edge.handle, request)
        headers, body = dict(response.headers), response.body
        if not isinstance(body, bytes):
            body = b"".join([bytes(part) async for part in body])
        code, message = headers.get("x-amzn-errortype", ""), ""
        if response.status >= 400 and service in ("iam", "sts"):
            code, message = (body.partition(tag)[2].partition(b"<")[0].decode() for tag in (b"<Code>", b"<Message>"))
        elif response.status >= 400:
            found = json.loads(body)
            message = str(found.get("message") or found.get("Message") or "")
        return Answer(response.status, code, message, body)

    async def own(self, key: Any, path: str, method: str = "GET", body: bytes = b"", region: str = REGION) -> tuple[int, Any]:
        """One call of Hanabi's own endpoints: (status, JSON)."""
        request = sign(key, method, f"{ENDPOINT}/_hanabi/{path}", body, service="hanabi", region=region)
        response = await answer_of(self.edge.handle, request)
        assert isinstance(response.body, bytes)
        try:
            return response.status, json.loads(response.body)
        except ValueError:
            return response.status, response.body

    async def function(self, account: str, region: str, name: str, **changes: Any) -> ControlPlane:
        """An active function with a version 1 and an alias `live` of it."""
        plane = await self.planes.get(AccountRegion(account, region))
        role = f"arn:aws:iam::{account}:role/r"
        await plane.deployment.create(name, create_params(name, Publish=True, Role=role, **changes))
        await plane.wait_idle()
        return plane


@asynccontextmanager
async def open_accounts(
    directory: Path, region: str = REGION, account: str = ACCOUNT, any_signature: bool = False, any_role: bool = True
) -> AsyncIterator[Accounts]:
    from tests.unit.services.lambda_.support import EchoInvoker, ListQueue

    clock = SystemClock()  # botocore signs by the real time
    async with open_planes() as world, open_record(directory, clock) as record:
        planes, everything = world.planes, AllPlanes(world.planes)
        names, home = RecordNames(planes.home), AccountRegion(account, region)
        keys = KeyRing.open(directory / "keys.json", region=region, account=account, clock=clock)
        roles = ExecutionRoles(home, any_role=any_role, any_account=any_signature)

        def make_iam(of: str) -> IamService:
            return IamService(ScopedStore(world.store, f"{of}/"), clock, AccountRegion(of, region), roles.changed)

        iam = IamAccounts(world.store, make_iam)
        invoker, queue = EchoInvoker(), ListQueue()

        (directory / "staging").mkdir()
        uploads = Staging(directory / "staging", clock)

        async def lambda_at(at: AccountRegion) -> LambdaService:
            return LambdaService(await planes.get(at), invoker, queue, clock, roles=roles.of(at), staging=uploads.given)

        async def logs_at(at: AccountRegion) -> LogsService:
            return LogsService(LogStore(record.journal, clock, names.scope(at)), clock, at)

        services: list[Service] = [
            EachPlace(await lambda_at(home), lambda_at, lambda at: planes.find(at) is not None),
            EachPlace(await iam.at(home), iam.at),
            StsService(keys, iam.find_role),
            EachPlace(await logs_at(home), logs_at),
        ]
        groups: list[OwnEndpointGroup] = [
            EnvironmentsEndpoint(account, {"environments": lambda: ROWS, "provisioned": lambda: ROWS}, {"budget": dict}),
            HealthEndpoints(world.health),
            KeysEndpoint(keys),
            UrlsEndpoint(planes.find, lambda url_id: f"http://{url_id}/"),
            UsageEndpoint(record.usage, names.scope),
            uploads,
        ]
        edge = Edge(
            services,
            keys,
            clock,
            region,
            endpoints=[endpoint for group in groups for endpoint in group.endpoints],
            authorize=Authorizer(iam.find_identity, clock, home),
            any_signature=any_signature,
        )
        iam.on_close(edge.api.services.forget_account)
        yield Accounts(edge, keys, planes, everything, record, names, invoker.seen, world.store)
        uploads.close()
        await iam.close()
