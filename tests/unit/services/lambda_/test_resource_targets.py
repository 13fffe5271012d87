"""What operations on resources by their ARN ask a caller to be allowed."""

import json
from pathlib import Path

from tests.unit.edge.live import ACCOUNT, REGION
from tests.unit.edge.world import FUNCTION, allow, deny, open_world

CONFIGS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config"


async def test_tags_and_configurations_are_guarded(tmp_path: Path) -> None:
    async with open_world(tmp_path) as world:
        owner = world.keys.root
        await world.function("f")
        publishers = {"SigningProfileVersionArns": [f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/p"]}
        made = await world.ask(owner, "lambda", "CreateCodeSigningConfig", AllowedPublishers=publishers, Tags={"team": "a"})
        arn = json.loads(made.body)["CodeSigningConfig"]["CodeSigningConfigArn"]
        of_team = {"StringEquals": {"aws:ResourceTag/team": "a"}}
        by_tag = await world.session(
            "by-tag",
            allow("lambda:*", f"{CONFIGS}:*", Condition=of_team),
            allow("lambda:*", FUNCTION + ":*"),
        )
        none = await world.session("none", allow("lambda:*"), deny("lambda:*", arn))
        calls = (
            ("GetCodeSigningConfig", {"CodeSigningConfigArn": arn}),
            ("UpdateCodeSigningConfig", {"CodeSigningConfigArn": arn, "Description": "d"}),
            ("ListFunctionsByCodeSigningConfig", {"CodeSigningConfigArn": arn}),
            ("ListTags", {"Resource": arn}),
            ("TagResource", {"Resource": arn, "Tags": {"k": "v"}}),
            ("UntagResource", {"Resource": arn, "TagKeys": ["k"]}),
            ("PutFunctionCodeSigningConfig", {"FunctionName": "f", "CodeSigningConfigArn": arn}),
            ("ListTags", {"Resource": f"{FUNCTION}:f"}),
        )
        for operation, params in calls:
            assert (await world.ask(by_tag, "lambda", operation, **params)).status < 300, operation
            if arn in params.values():
                assert (await world.ask(none, "lambda", operation, **params)).denied, operation
        only = await world.session("f-only", allow("lambda:*", f"{FUNCTION}:f"))
        put = await world.ask(only, "lambda", "PutFunctionCodeSigningConfig", FunctionName="f", CodeSigningConfigArn=arn)
        assert put.denied and "code-signing-config" in put.message
