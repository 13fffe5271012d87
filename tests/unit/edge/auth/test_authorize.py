"""What the authorizer makes of a caller: the condition keys about it, and what caps it."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.credentials import Principal, Session
from hanabi.contracts.http import HttpRequest
from hanabi.edge.auth.authorize import Authorizer, keys_of_principal
from hanabi.edge.auth.evaluate import IamIdentity
from hanabi.edge.auth.keys import Key, KeyRing, session_principal, user_principal
from hanabi.edge.service import RequiredPermission
from hanabi.errors import AccessDenied
from hanabi.testing import ManualClock
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.live import PLACE
from tests.unit.edge.world import FUNCTION, ROLE, allow, deny

USER = f"arn:aws:iam::{ACCOUNT}:user/team/kai"
OWNER = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, True)
GET = RequiredPermission("lambda:GetFunction", f"{FUNCTION}:f")


def policies(*statements: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return ({"Version": "2012-10-17", "Statement": list(statements)},)


async def refusal(principal: Principal, identity: IamIdentity | None, permission: RequiredPermission = GET, **options: Any) -> str | None:
    """Why a call is refused; None if it is allowed."""
    authorizer = Authorizer(lambda caller: identity, ManualClock(), PLACE, **options)
    try:
        await authorizer(principal, HttpRequest("GET", "/", "/", "", [], b""), permission)
    except AccessDenied as error:
        return error.message
    return None


def test_the_keys_of_callers() -> None:
    user = keys_of_principal(user_principal(USER, "AIDA"), IamIdentity((), tags={"team": "red"}))
    assert user == {
        "aws:PrincipalArn": USER,
        "aws:PrincipalAccount": ACCOUNT,
        "aws:PrincipalType": "User",
        "aws:userid": "AIDA",
        "aws:username": "kai",
        "aws:PrincipalTag/team": "red",
    }
    session = Session(1_796_212_800.0, tags=(("Team", "blue"), ("job", "x")), source_identity="kai")
    role = keys_of_principal(session_principal(f"{ROLE}/r", "s", session=session), IamIdentity((), tags={"team": "red", "cost": "1"}))
    assert (role["aws:PrincipalArn"], role["aws:PrincipalType"], role["aws:SourceIdentity"]) == (f"{ROLE}/r", "AssumedRole", "kai")
    assert (role["aws:TokenIssueTime"], role["aws:MultiFactorAuthPresent"]) == ("2026-12-02T12:00:00Z", "false")
    assert {key: value for key, value in role.items() if key.startswith("aws:PrincipalTag/")} == {
        "aws:PrincipalTag/Team": "blue",  # of the session: it overrides the role's, whatever its letters
        "aws:PrincipalTag/job": "x",
        "aws:PrincipalTag/cost": "1",
    }
    assert "aws:username" not in role
    federated = Principal(ACCOUNT, f"arn:aws:sts::{ACCOUNT}:federated-user/bo", f"{ACCOUNT}:bo", False, user=USER)
    assert keys_of_principal(federated, None)["aws:PrincipalType"] == "FederatedUser"
    assert keys_of_principal(OWNER, None)["aws:PrincipalType"] == "Account"


async def test_boundaries_and_session_policies_cap() -> None:
    all_of_it, lambda_only, logs_only = policies(allow("*")), policies(allow("lambda:*")), policies(allow("logs:*"))
    user = user_principal(USER, "AIDA")
    why = f"User: {USER} is not authorized to perform: lambda:GetFunction on resource: {FUNCTION}:f"
    assert await refusal(user, IamIdentity(all_of_it)) is None
    assert await refusal(user, IamIdentity(all_of_it, lambda_only)) is None
    assert (
        await refusal(user, IamIdentity(all_of_it, logs_only))
        == f"{why} because no permissions boundary allows the lambda:GetFunction action"
    )
    assert await refusal(user, IamIdentity(all_of_it, ())) is not None  # a boundary that is gone allows nothing
    assert await refusal(user, IamIdentity((), all_of_it)) == f"{why} because no identity-based policy allows the lambda:GetFunction action"
    denying = policies(allow("*"), deny("lambda:Get*"))
    assert await refusal(user, IamIdentity(all_of_it, denying)) == f"{why} with an explicit deny in a permissions boundary"
    assert await refusal(user, None) is not None
    for passed, allowed in ((None, True), (lambda_only, True), (logs_only, False), ((), False), (denying, False)):
        session = session_principal(f"{ROLE}/r", "s", session=Session(0.0, passed))
        assert (await refusal(session, IamIdentity(all_of_it)) is None) is allowed
        assert await refusal(session, IamIdentity(())) is not None


async def test_the_owner_of_another_account_needs_a_resource_policy() -> None:
    foreign = Principal("111111111111", "arn:aws:iam::111111111111:root", "111111111111", True)
    why = await refusal(foreign, None)
    assert why is not None and why.endswith("because no resource-based policy allows the lambda:GetFunction action")
    statement = {"Effect": "Allow", "Principal": {"AWS": "111111111111"}, "Action": "lambda:GetFunction", "Resource": f"{FUNCTION}:f"}
    assert await refusal(foreign, None, RequiredPermission("lambda:GetFunction", f"{FUNCTION}:f", policy=(statement,))) is None
    assert await refusal(OWNER, None) is None


@pytest.mark.parametrize(
    ("options", "logs", "reads"), [({"own_logs": False}, False, False), ({}, True, False), ({"lenient": True}, True, True)]
)
async def test_what_a_role_without_policies_may(options: dict[str, bool], logs: bool, reads: bool) -> None:
    inside = session_principal(f"{ROLE}/r", "f", f"{FUNCTION}:f")
    put = RequiredPermission("logs:PutLogEvents", f"arn:aws:logs:{PLACE.region}:{ACCOUNT}:log-group:/aws/lambda/f:log-stream:s")
    for identity in (None, IamIdentity(())):
        assert (await refusal(inside, identity, put, **options) is None) is logs
        assert (await refusal(inside, identity, GET, **options) is None) is reads
        assert await refusal(user_principal(USER, "AIDA"), identity, GET, **options) is not None  # a user is given nothing


async def test_keys_of_users_sign_until_they_are_revoked(tmp_path: Path) -> None:
    keys = KeyRing.open(tmp_path / "keys.json", region="us-east-1", account=ACCOUNT, clock=ManualClock())
    keys.put(Key("AKIAUSER", "secret", "", user_principal(USER, "AIDA")))
    keys.put(Key(keys.root.access_key, "mine", "", user_principal(USER, "AIDA")))  # nobody replaces the owner's
    found = keys.lookup("AKIAUSER")
    assert found is not None and found.principal.arn == USER and keys.lookup(keys.root.access_key) is keys.root
    keys.revoke("AKIAUSER")
    assert keys.lookup("AKIAUSER") is None
