"""Who may call a function URL."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.cli.functions import OPEN_TO_ALL
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.all_planes import PlacedUrl
from hanabi.errors import ApiError
from hanabi.frontends.function_urls.access import UrlAccess
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.signing import sign
from tests.unit.edge.world import ENDPOINT, FUNCTION, World, allow, open_world

BOTH = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]


async def calls(world: World, name: str, key: Any = None, *, everybody: bool = False, qualifier: str | None = None) -> bool:
    """Whether a request gets through; its caller is who signed, or nobody."""

    async def verify(request: HttpRequest) -> Principal:
        return await world.edge.api.verifier.verify(request, "lambda")

    function = world.control.functions.get(name)
    assert function is not None
    url = PlacedUrl(function.urls[qualifier or "$LATEST"], world.control, name)
    access = UrlAccess(verify, world.authorizer, everybody=everybody)
    request = HttpRequest("GET", "/", "/", "", [], b"", "127.0.0.1") if key is None else sign(key, "GET", f"{ENDPOINT}/", b"")
    try:
        principal = await access(request, url)
    except ApiError:
        return False
    assert (principal is None) is (url.auth_type == "NONE")
    return True


@pytest.mark.parametrize(
    ("permissions", "opened"),
    [
        ([], False),
        ([{"Action": BOTH[0], "FunctionUrlAuthType": "NONE"}], False),
        ([{"Action": BOTH[1], "InvokedViaFunctionUrl": True}], False),
        ([{"Action": BOTH[0], "FunctionUrlAuthType": "NONE"}, {"Action": BOTH[1], "InvokedViaFunctionUrl": True}], True),
        ([{"Action": BOTH[0], "FunctionUrlAuthType": "AWS_IAM"}, {"Action": BOTH[1]}], False),
        ([{"Action": BOTH[0], "SourceAccount": ACCOUNT}, {"Action": BOTH[1]}], False),
        ([{"Action": BOTH[0], "Principal": ACCOUNT}, {"Action": BOTH[1], "Principal": ACCOUNT}], False),
        ([{"Action": "lambda:*"}], True),
        (list(OPEN_TO_ALL.values()), True),  # what `hanabi deploy --url` says
    ],
)
async def test_a_url_without_a_signature_is_open_when_the_function_says_so(tmp_path: Path, permissions: list[Any], opened: bool) -> None:
    async with open_world(tmp_path) as world:
        owner = world.keys.root
        await world.function("web")
        await world.ask(owner, "lambda", "CreateFunctionUrlConfig", FunctionName="web", AuthType="NONE")
        await world.ask(owner, "lambda", "CreateFunctionUrlConfig", FunctionName="web", Qualifier="live", AuthType="NONE")
        for number, permission in enumerate(permissions):
            added = {"FunctionName": "web", "StatementId": f"s{number}", "Principal": "*"} | permission
            assert (await world.ask(owner, "lambda", "AddPermission", **added)).status == 201
        assert await calls(world, "web") is opened
        assert await calls(world, "web", qualifier="live") is False  # the alias has a policy of its own
        assert await calls(world, "web", everybody=True)  # --roles lenient


async def test_a_url_of_type_aws_iam_wants_both_permissions(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await world.function("web")
        await world.ask(world.keys.root, "lambda", "CreateFunctionUrlConfig", FunctionName="web", AuthType="AWS_IAM")
        assert await calls(world, "web", world.keys.root)
        assert not await calls(world, "web")
        for number, (actions, may) in enumerate(((BOTH[:1], False), (BOTH[1:], False), (BOTH, True))):
            key = await world.session(f"guest{number}", allow(actions, f"{FUNCTION}:web"))
            assert await calls(world, "web", key) is may
        plain = await world.session("plain")
        assert not await calls(world, "web", plain, everybody=True)
        for action in BOTH:
            granted = {"StatementId": action[7:], "Action": action, "Principal": ACCOUNT}
            await world.ask(world.keys.root, "lambda", "AddPermission", FunctionName="web", **granted)
        assert not await calls(world, "web", plain)
        for action in BOTH:
            granted = {"StatementId": f"p{action[7:]}", "Action": action, "Principal": f"arn:aws:iam::{ACCOUNT}:role/plain"}
            await world.ask(world.keys.root, "lambda", "AddPermission", FunctionName="web", **granted)
        assert await calls(world, "web", plain)
