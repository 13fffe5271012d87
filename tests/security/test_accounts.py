"""What one account has is closed to another's key, by whatever spelling, unless a policy of that account opens it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.keys import Key
from hanabi.services.iam import accounts
from tests.security.names import MINE, THEIRS
from tests.security.test_spellings import naming_members, parameters, spellings
from tests.unit.edge.accounts_world import ELSEWHERE, OTHER, Accounts, open_accounts
from tests.unit.edge.live import ACCOUNT, REGION
from tests.unit.edge.signing import change, sign
from tests.unit.edge.world import ENDPOINT, allow

SECRET = "of-the-first-account"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/{THEIRS}"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{THEIRS}"
TRUST = json.dumps({"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}})


async def prepare(world: Accounts) -> None:
    """What the first account has, `theirs`: SECRET is in all of it. And what the second one has, `mine`."""
    await world.function(ACCOUNT, REGION, THEIRS, Description=SECRET, Tags={"k": SECRET}, Environment={"Variables": {"A": SECRET}})
    await world.function(OTHER, REGION, MINE)
    owner = world.keys.root
    assert (await world.ask(owner, "lambda", "CreateFunctionUrlConfig", FunctionName=THEIRS, AuthType="AWS_IAM")).status == 201
    layer: dict[str, Any] = {"LayerName": THEIRS, "Content": {"ZipFile": b"code"}, "Description": SECRET}
    assert (await world.ask(owner, "lambda", "PublishLayerVersion", **layer)).status == 201
    assert (await world.ask(owner, "iam", "CreateRole", RoleName=THEIRS, Description=SECRET, AssumeRolePolicyDocument=TRUST)).status == 200
    group = f"/aws/lambda/{THEIRS}"
    await world.ask(owner, "logs", "CreateLogGroup", logGroupName=group, tags={"k": SECRET})
    world.record.journal.log(group, "s", [(int(time.time() * 1000), SECRET)])


async def state(world: Accounts) -> str:
    """All that the first account has, as text."""
    groups = await world.record.logs.groups(prefix="", pattern="", after="", limit=50)
    messages = await world.record.messages(f"/aws/lambda/{THEIRS}") if groups else []
    plane = world.planes.find(AccountRegion(ACCOUNT, REGION))
    assert plane is not None
    roles = [row for row in await world.store_of(ACCOUNT) if "/iam/" in row[0]]
    return repr((plane.functions.get(THEIRS), list(plane.functions), list(plane.layers), groups, messages, roles))


@pytest.mark.parametrize("service", ["lambda", "logs", "iam", "sts"])
async def test_no_spelling_reaches_what_another_account_has(service: str, tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        await prepare(world)
        root = world.keys.lookup(world.keys.create_account_key(OTHER).access_key)
        await world.ask(root, "iam", "CreateRole", RoleName="all", AssumeRolePolicyDocument=TRUST)
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow("*")]})
        await world.ask(root, "iam", "PutRolePolicy", RoleName="all", PolicyName="p", PolicyDocument=document)
        session = world.keys.assume(f"arn:aws:iam::{OTHER}:role/all", "s", 900, world.keys.root.principal)
        before, tried, refused = await state(world), 0, 0
        for operation in world.edge.api.services.by_signing_name[service].operations:
            for member in naming_members(service, operation) or [""]:
                named = [each for each in spellings(service, member, THEIRS) if ACCOUNT in each or each == THEIRS] if member else [""]
                for spelling in named:
                    usual = spelling in (THEIRS, FUNCTION, "")  # others are resolved before it is asked who may
                    for key, region in ((root, REGION), (session, REGION), (root, ELSEWHERE)) if usual else ((root, REGION),):
                        params = parameters(service, operation, member, spelling)
                        params.pop("", None)
                        answer = await world.ask(key, service, operation, region, **params)
                        assert SECRET.encode() not in answer.body, (operation, spelling, answer)
                        assert answer.status < 500, (operation, spelling, answer)
                        tried, refused = tried + 1, refused + (answer.status >= 400)
        assert await state(world) == before and not world.invoked_of(ACCOUNT)
        assert tried > {"lambda": 500, "logs": 80, "iam": 60, "sts": 5}[service] and refused > tried // 4


async def test_presigned_requests_and_paths_are_no_way_around(tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        await prepare(world)
        key = world.keys.lookup(world.keys.create_account_key(OTHER).access_key)
        for name in (THEIRS, FUNCTION.replace(":", "%3A"), FUNCTION, f"{ACCOUNT}%3Afunction%3A{THEIRS}", f"{OTHER}/../{ACCOUNT}:{THEIRS}"):
            for path in (f"/2015-03-31/functions/{name}", f"/2015-03-31/functions/{name}/policy", f"/2017-03-31/tags/{name}"):
                for presign in (None, 60):
                    answer = await world.send(sign(key, "GET", f"{ENDPOINT}{path}", b"", presign=presign), "lambda")
                    assert answer.status in (400, 403, 404) and SECRET.encode() not in answer.body, (path, answer)


async def test_hanabis_own_endpoints_show_an_account_what_is_its_own(tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        await prepare(world)
        key = world.keys.lookup(world.keys.create_account_key(OTHER).access_key)
        for path in ("metrics", "problems", "keys", "nowhere"):
            assert (await world.own(key, path))[0] == 403
            assert (await world.own(world.keys.root, path))[0] == (404 if path == "nowhere" else 200)
        for method in ("POST", "DELETE"):
            body = json.dumps({"account": ACCOUNT, "access_key": key.access_key}).encode() if key else b""
            assert (await world.own(key, "keys", method, body))[0] == 403
        status, shown = await world.own(key, "environments")
        assert status == 200 and {(row["account"], row["region"]) for rows in shown.values() for row in rows} == {(OTHER, REGION)}
        assert "budget" not in shown and len((await world.own(world.keys.root, "environments"))[1]["environments"]) == 4
        assert (await world.own(key, "urls"))[1] == {"urls": []} and len((await world.own(world.keys.root, "urls"))[1]["urls"]) == 1
        put = await world.put(world.keys.root, b"code")
        stolen: dict[str, Any] = {"Code": {"S3Bucket": put["S3Bucket"], "S3Key": put["S3Key"]}, "Role": ROLE.replace(ACCOUNT, OTHER)}
        named: dict[str, Any] = {"FunctionName": "f", "Runtime": "python3.11", "Handler": "a.b"}
        answer = await world.ask(key, "lambda", "CreateFunction", **named, **stolen)
        assert answer.status == 400 and "NoSuchKey" in answer.message


async def test_a_policy_opens_a_function_to_another_account_as_far_as_both_sides_allow(tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        await prepare(world)
        root = world.keys.lookup(world.keys.create_account_key(OTHER).access_key)
        denied = await world.ask(root, "lambda", "Invoke", FunctionName=FUNCTION)
        assert (denied.status, denied.code) == (403, "AccessDeniedException")
        assert denied.message == (
            f"User: arn:aws:iam::{OTHER}:root is not authorized to perform: lambda:InvokeFunction on resource: {FUNCTION} "
            "because no resource-based policy allows the lambda:InvokeFunction action"
        )
        missing = await world.ask(root, "lambda", "Invoke", FunctionName=FUNCTION.replace(THEIRS, "missing"))
        nobody = await world.ask(root, "lambda", "Invoke", FunctionName=FUNCTION.replace(ACCOUNT, "999999999999"))
        assert missing.message == denied.message.replace(THEIRS, "missing")
        assert nobody.message == denied.message.replace(ACCOUNT, "999999999999")
        assert world.planes.find(AccountRegion("999999999999", REGION)) is None
        elsewhere = await world.ask(root, "lambda", "GetFunction", ELSEWHERE, FunctionName=FUNCTION)
        assert (elsewhere.status, elsewhere.message) == (404, f"Functions from '{REGION}' are not reachable in this region ('{ELSEWHERE}')")

        permission = {"FunctionName": THEIRS, "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": OTHER}
        assert (await world.ask(world.keys.root, "lambda", "AddPermission", **permission)).status == 201
        assert (await world.ask(root, "lambda", "Invoke", FunctionName=FUNCTION, Payload=b'"x"')).body == b'"x"'
        assert (await world.ask(root, "lambda", "Invoke", FunctionName=f"{ACCOUNT}:{THEIRS}")).status == 200
        assert world.invoked_of(ACCOUNT) == [FUNCTION, FUNCTION]
        for operation in ("GetFunction", "DeleteFunction", "GetPolicy", "ListTags"):  # what it does not say
            params = {"Resource": FUNCTION} if operation == "ListTags" else {"FunctionName": FUNCTION}
            assert (await world.ask(root, "lambda", operation, **params)).code == "AccessDeniedException"
        assert (await world.ask(root, "lambda", "Invoke", FunctionName=f"{FUNCTION}:live")).code == "AccessDeniedException"

        await world.ask(root, "iam", "CreateRole", RoleName="weak", AssumeRolePolicyDocument=TRUST)
        weak = world.keys.assume(f"arn:aws:iam::{OTHER}:role/weak", "s", 900, world.keys.root.principal)
        answer = await world.ask(weak, "lambda", "Invoke", FunctionName=FUNCTION)
        assert answer.code == "AccessDeniedException" and "no identity-based policy" in answer.message
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow("lambda:InvokeFunction", FUNCTION)]})
        await world.ask(root, "iam", "PutRolePolicy", RoleName="weak", PolicyName="p", PolicyDocument=document)
        assert (await world.ask(weak, "lambda", "Invoke", FunctionName=FUNCTION)).status == 200


async def test_a_layer_is_another_accounts_when_its_policy_says_so(tmp_path: Path) -> None:
    async with open_accounts(tmp_path) as world:
        await prepare(world)
        root = world.keys.lookup(world.keys.create_account_key(OTHER).access_key)
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{THEIRS}"
        create: dict[str, Any] = {
            "FunctionName": "f", "Runtime": "python3.11", "Handler": "a.b", "Role": ROLE.replace(ACCOUNT, OTHER),
            "Code": {"ZipFile": b"code"}, "Layers": [f"{arn}:1"],
        }  # fmt: skip
        asked: list[tuple[str, dict[str, Any]]] = [("GetLayerVersionByArn", {"Arn": f"{arn}:1"}), ("CreateFunction", create)]
        for operation, params in asked:
            answer = await world.ask(root, "lambda", operation, **params)
            assert answer.code == "AccessDeniedException" and "lambda:GetLayerVersion" in answer.message, answer
        statement: dict[str, Any] = {
            "LayerName": THEIRS,
            "VersionNumber": 1,
            "StatementId": "s",
            "Action": "lambda:GetLayerVersion",
            "Principal": OTHER,
        }
        assert (await world.ask(world.keys.root, "lambda", "AddLayerVersionPermission", **statement)).status == 201
        assert SECRET.encode() in (await world.ask(root, "lambda", "GetLayerVersion", LayerName=arn, VersionNumber=1)).body
        assert (await world.ask(root, "lambda", "CreateFunction", **create)).status == 201
        for operation in ("DeleteLayerVersion", "GetLayerVersionPolicy"):
            assert (await world.ask(root, "lambda", operation, LayerName=arn, VersionNumber=1)).status in (403, 404)


async def test_without_authentication_tools_may_call_and_web_pages_may_not(tmp_path: Path) -> None:
    """`--auth none`: an access key of 12 digits is an account; what a browser sends for a page is refused before anything is done."""

    async with open_accounts(tmp_path, any_signature=True) as world:
        test = Key("test", "test", "", world.keys.root.principal)
        other = Key(OTHER, "test", "", world.keys.root.principal)
        create: dict[str, Any] = {
            "FunctionName": "f", "Runtime": "python3.11", "Handler": "a.b", "Role": ROLE, "Code": {"ZipFile": b"code"},
        }  # fmt: skip
        assert (await world.ask(test, "lambda", "CreateFunction", ELSEWHERE, **create)).status == 201
        for key, region, status in ((test, ELSEWHERE, 200), (test, REGION, 404), (other, ELSEWHERE, 404)):
            assert (await world.ask(key, "lambda", "GetFunction", region, FunctionName="f")).status == status
        assert OTHER.encode() in (await world.ask(other, "sts", "GetCallerIdentity")).body
        for headers in (
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("host", "evil.example"),
            ("referer", "http://x/"),
        ):
            for name, body in (
                ("2015-03-31/functions", b"{}"),
                ("_hanabi/keys", b'{"account": "111122223333"}'),
                ("_hanabi/uploads", b"x"),
            ):
                for method in ("GET", "POST", "PUT"):
                    request = change(sign(test, method, f"{ENDPOINT}/{name}", body), *headers)
                    answer = await world.send(request, "lambda")
                    assert answer.status == 403, (headers, name, method, answer)
        request = HttpRequest("GET", "/2015-03-31/functions/", "/2015-03-31/functions/", "", [("host", "localhost")], b"", "127.0.0.1")
        assert (await world.send(request, "lambda")).json == {"Functions": []}
        plane = world.planes.find(AccountRegion(ACCOUNT, ELSEWHERE))
        assert plane is not None and plane.functions.names() == ["f"] and len(world.keys.account_keys()) == 1


@pytest.mark.parametrize(("any_role", "any_signature"), [(False, False), (False, True), (True, False)])
async def test_a_function_has_a_role_of_its_own_account(any_role: bool, any_signature: bool, tmp_path: Path) -> None:
    """A role that trusts Lambda is not every account's: who could give it to a function would be that account."""
    lambda_ = {"Service": "lambda.amazonaws.com"}
    trust = json.dumps({"Statement": {"Effect": "Allow", "Principal": lambda_, "Action": "sts:AssumeRole"}})
    async with open_accounts(tmp_path, any_signature=any_signature, any_role=any_role) as world:
        await prepare(world)
        root = world.keys.lookup(world.keys.create_account_key(OTHER).access_key)
        for key in (world.keys.root, root):
            assert (await world.ask(key, "iam", "CreateRole", RoleName="runner", AssumeRolePolicyDocument=trust)).status == 200
        create: dict[str, Any] = {
            "FunctionName": "f", "Runtime": "python3.11", "Handler": "a.b", "Code": {"ZipFile": b"code"},
            "Role": f"arn:aws:iam::{ACCOUNT}:role/runner",
        }  # fmt: skip
        answer = await world.ask(root, "lambda", "CreateFunction", **create)
        assert (answer.status, answer.message) == (403, "Cross-account pass role is not allowed.")
        own = f"arn:aws:iam::{OTHER}:role/runner"
        assert (await world.ask(root, "lambda", "CreateFunction", **(create | {"Role": own}))).status == 201
        answer = await world.ask(root, "lambda", "UpdateFunctionConfiguration", FunctionName="f", Role=create["Role"])
        assert (answer.status, answer.message) == (403, "Cross-account pass role is not allowed.")
        plane = world.planes.find(AccountRegion(OTHER, REGION))
        assert plane is not None and plane.functions.find("f").latest.settings.role == own


async def test_an_account_whose_iam_was_closed_for_others_has_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept of a closed one is not used: its roles would be nowhere but on disk."""
    monkeypatch.setattr(accounts, "ACCOUNTS_MAX", 3)
    async with open_accounts(tmp_path, any_signature=True) as world:
        keys = [Key(f"{number:012}", "test", "", world.keys.root.principal) for number in range(1, 9)]
        for key in keys:
            assert (await world.ask(key, "iam", "ListRoles")).status == 200
        assert len([each for each in world.edge.api.services.by_signing_name["iam"].placed if each[0] != ACCOUNT]) <= 3
        trust = json.dumps({"Statement": {"Effect": "Allow", "Principal": {"AWS": keys[0].access_key}, "Action": "sts:AssumeRole"}})
        assert (await world.ask(keys[0], "iam", "CreateRole", RoleName="r", AssumeRolePolicyDocument=trust)).status == 200
        role = f"arn:aws:iam::{keys[0].access_key}:role/r"
        assert (await world.ask(keys[0], "sts", "AssumeRole", RoleArn=role, RoleSessionName="me")).status == 200
