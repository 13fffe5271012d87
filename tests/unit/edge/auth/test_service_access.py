"""Which AWS services a function's policy lets invoke it, and for whom."""

from pathlib import Path
from typing import Any

from hanabi.base.clock import SystemClock
from hanabi.control.resource_policies import add_statement, put_policy
from hanabi.edge.auth.service_access import ServiceAccess
from tests.unit.control.support import ACCOUNT, ARN, Plane, open_plane

BUCKET, OTHER = "arn:aws:s3:::bucket", "111111111111"


async def permit(plane: Plane, qualifier: str | None = None, **changes: Any) -> None:
    params = {
        "StatementId": f"s{changes}".encode().hex()[:90],
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
    } | changes
    await plane.functions.change("f", lambda function: add_statement(function, qualifier, params))


async def test_only_the_service_that_is_named(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create(Publish=True)
        access = ServiceAccess(plane.functions, SystemClock())
        assert not access.may_invoke("s3.amazonaws.com", "f")
        await permit(plane)
        assert access.may_invoke("s3.amazonaws.com", "f")
        assert not access.may_invoke("sns.amazonaws.com", "f") and not access.may_invoke("s3.amazonaws.com.cn", "f")
        assert not access.may_invoke("s3.amazonaws.com", "f", "1") and not access.may_invoke("s3.amazonaws.com", "nowhere")
        await permit(plane, "1", Principal="events.amazonaws.com")
        assert access.may_invoke("events.amazonaws.com", "f", "1") and not access.may_invoke("events.amazonaws.com", "f")


async def test_only_for_what_it_is_allowed_for(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        access = ServiceAccess(plane.functions, SystemClock())
        await permit(plane, SourceArn=BUCKET, SourceAccount=ACCOUNT)
        assert access.may_invoke("s3.amazonaws.com", "f", source_arn=BUCKET, source_account=ACCOUNT)
        sources: list[dict[str, Any]] = [
            {},
            {"source_arn": BUCKET},
            {"source_account": ACCOUNT},
            {"source_arn": f"{BUCKET}-too", "source_account": ACCOUNT},
            {"source_arn": BUCKET, "source_account": OTHER},
        ]
        for source in sources:
            assert not access.may_invoke("s3.amazonaws.com", "f", **source)
        await permit(plane, Principal="sns.amazonaws.com", SourceArn=f"arn:aws:sns:us-east-1:{ACCOUNT}:orders-*")
        assert access.may_invoke("sns.amazonaws.com", "f", source_arn=f"arn:aws:sns:us-east-1:{ACCOUNT}:orders-eu")
        assert not access.may_invoke("sns.amazonaws.com", "f", source_arn=f"arn:aws:sns:us-east-1:{OTHER}:orders-eu")
        await permit(plane, Principal="alexa-appkit.amazon.com", EventSourceToken="amzn1.ask.skill.x")
        token = {"lambda:EventSourceToken": "amzn1.ask.skill.x"}
        assert access.may_invoke("alexa-appkit.amazon.com", "f", context=token) and not access.may_invoke("alexa-appkit.amazon.com", "f")


async def test_other_actions_and_accounts_open_nothing_to_services(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        access = ServiceAccess(plane.functions, SystemClock())
        await permit(plane, Action="lambda:GetFunction")
        await permit(plane, Principal=OTHER)
        assert not access.may_invoke("s3.amazonaws.com", "f")


async def test_a_deny_counts(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        await plane.create()
        access = ServiceAccess(plane.functions, SystemClock())
        one: dict[str, Any] = {"Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction", "Resource": f"{ARN}:f"}
        deny = one | {"Effect": "Deny", "Condition": {"StringNotEquals": {"aws:SourceAccount": ACCOUNT}}}
        await plane.functions.change("f", lambda function: put_policy(function, None, ({**one, "Effect": "Allow"}, deny), "", None))
        assert access.may_invoke("s3.amazonaws.com", "f", source_account=ACCOUNT)
        assert not access.may_invoke("s3.amazonaws.com", "f", source_account=OTHER)
