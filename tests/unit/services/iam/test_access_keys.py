"""Access keys of users: they sign, as long as they are there and active."""

from pathlib import Path

from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.keys import KeyRing
from hanabi.services.iam.service import IamService
from hanabi.testing import ManualClock
from hanabi.testing.store import MemoryStore
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import allow, open_world
from tests.unit.services.iam.support import call, names, refusal


async def test_the_life_of_a_key(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        await call(world, "CreateUser", UserName="kai")
        made = (await call(world, "CreateAccessKey", UserName="kai"))["AccessKey"]
        assert made["AccessKeyId"].startswith("AKIA") and len(made["SecretAccessKey"]) == 40
        assert (made["UserName"], made["Status"]) == ("kai", "Active")
        key = world.keys.lookup(made["AccessKeyId"])
        identity = await call(world, "GetCallerIdentity", key, service="sts")
        assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/kai" and identity["UserId"].startswith("AIDA")
        assert (await refusal(world, "GetUser", key))[0] == "AccessDenied"  # a user is given nothing
        listed = (await call(world, "ListAccessKeys", UserName="kai"))["AccessKeyMetadata"]
        assert names(listed, "AccessKeyId") == [made["AccessKeyId"]] and "SecretAccessKey" not in listed[0]
        await call(world, "UpdateAccessKey", UserName="kai", AccessKeyId=made["AccessKeyId"], Status="Inactive")
        assert (await world.ask(key, "sts", "GetCallerIdentity")).code == "InvalidClientTokenId"
        await call(world, "UpdateAccessKey", UserName="kai", AccessKeyId=made["AccessKeyId"], Status="Active")
        assert (await world.ask(key, "sts", "GetCallerIdentity")).status == 200
        await call(world, "CreateAccessKey", UserName="kai")
        limit = await refusal(world, "CreateAccessKey", UserName="kai")
        assert limit == ("LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2")
        await call(world, "DeleteAccessKey", UserName="kai", AccessKeyId=made["AccessKeyId"])
        assert (await world.ask(key, "sts", "GetCallerIdentity")).code == "InvalidClientTokenId"
        for operation, more in (("DeleteAccessKey", {}), ("UpdateAccessKey", {"Status": "Active"})):
            code, _, message = await refusal(world, operation, UserName="kai", AccessKeyId=made["AccessKeyId"], **more)
            assert (code, message) == ("NoSuchEntity", f"The Access Key with id {made['AccessKeyId']} cannot be found.")


async def test_when_and_for_what_a_key_was_used(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        kai = await world.user("kai", allow("lambda:ListFunctions"))
        found = await call(world, "GetAccessKeyLastUsed", AccessKeyId=kai.access_key)
        assert found == {"UserName": "kai", "AccessKeyLastUsed": {"ServiceName": "N/A", "Region": "N/A"}}
        assert (await world.ask(kai, "lambda", "ListFunctions")).status == 200
        used = (await call(world, "GetAccessKeyLastUsed", AccessKeyId=kai.access_key))["AccessKeyLastUsed"]
        assert (used["ServiceName"], used["Region"]) == ("lambda", "us-east-1") and used["LastUsedDate"] > 0
        assert (await refusal(world, "GetAccessKeyLastUsed", AccessKeyId="AKIA0000000000000000"))[0] == "NoSuchEntity"


async def test_the_owners_keys_are_not_iams(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        root = world.keys.root.access_key
        assert names((await call(world, "ListAccessKeys"))["AccessKeyMetadata"], "AccessKeyId") == [root]
        for operation, more in (
            ("CreateAccessKey", {}),
            ("DeleteAccessKey", {"AccessKeyId": root}),
            ("UpdateAccessKey", {"AccessKeyId": root, "Status": "Inactive"}),
        ):
            assert (await refusal(world, operation, **more))[0] == "ValidationError"
        assert world.keys.lookup(root) is world.keys.root


async def test_keys_are_there_after_a_restart_and_go_with_what_others_change(tmp_path: Path) -> None:
    clock, place = ManualClock(), AccountRegion(ACCOUNT, "us-east-1")
    async with open_world(tmp_path) as world:
        kai = await world.user("kai")
        ring = KeyRing.open(tmp_path / "other.json", region="us-east-1", account=ACCOUNT, clock=clock)
        iam = IamService(MemoryStore(world.store.documents), clock, place, keys=ring)
        await iam.open()
        found = ring.lookup(kai.access_key)
        assert found is not None and found.secret_key == kai.secret_key and found.principal == kai.principal
        await call(world, "DeleteAccessKey", UserName="kai", AccessKeyId=kai.access_key)
        await iam.close()  # waits for what the store has told
        assert ring.lookup(kai.access_key) is None


async def test_a_key_is_denied_by_the_user_that_has_it(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        mine, theirs = [await world.user(f"{name}-keys") for name in ("mine", "theirs")]
        key = await world.session("only", allow("iam:*", f"arn:aws:iam::{ACCOUNT}:user/mine-keys"))
        assert (await world.ask(key, "iam", "GetAccessKeyLastUsed", AccessKeyId=mine.access_key)).status == 200
        for access_key in (theirs.access_key, world.keys.root.access_key, "AKIA0000000000000000"):
            assert (await world.ask(key, "iam", "GetAccessKeyLastUsed", AccessKeyId=access_key)).denied
        for operation in ("UpdateAccessKey", "DeleteAccessKey"):  # another's key under one's own name
            params = {"UserName": "mine-keys", "AccessKeyId": theirs.access_key, "Status": "Inactive"}
            assert (await world.ask(key, "iam", operation, **params)).code == "NoSuchEntity"
            assert (await world.ask(key, "iam", operation, **params | {"UserName": "theirs-keys"})).denied
        assert (await world.ask(theirs, "sts", "GetCallerIdentity")).status == 200
