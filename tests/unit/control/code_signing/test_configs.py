"""Code signing configurations: made, changed, deleted."""

from dataclasses import replace
from pathlib import Path

import pytest

from hanabi.errors import CodeSigningConfigGone, CodeSigningConfigNotFound, InvalidParameterValue, ResourceConflict
from tests.unit.control.support import ACCOUNT, REGION, open_plane

PROFILE = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/p"
PUBLISHERS = {"AllowedPublishers": {"SigningProfileVersionArns": [PROFILE]}}


async def test_a_life(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        configs = plane.control.code_signing
        made = await configs.create({**PUBLISHERS, "Tags": {"k": "v"}})
        assert (made.policy, made.description, made.publishers, made.tags) == ("Warn", "", (PROFILE,), {"k": "v"})
        arn = configs.arn(made.id)
        changed = await configs.change(arn, {"Description": "d", "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}})
        assert (changed.policy, changed.description, changed.publishers) == ("Enforce", "d", (PROFILE,))
    async with open_plane(tmp_path) as plane:
        configs = plane.control.code_signing
        assert configs.find(arn) == changed and list(configs) == [changed]
        await plane.create()
        await plane.functions.change("f", lambda function: replace(function, code_signing=arn))
        with pytest.raises(ResourceConflict, match="functions use it"):
            await configs.delete(arn, lambda: [each.arn for each in plane.functions if each.code_signing == arn])
        await plane.functions.change("f", lambda function: replace(function, code_signing=""))
        await configs.delete(arn, lambda: [])
        with pytest.raises(CodeSigningConfigGone, match="The Lambda code signing configuration .* can not be found."):
            configs.find(arn)


async def test_one_that_is_not_there(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        configs = plane.control.code_signing
        made = await configs.create(PUBLISHERS)
        for arn in (
            configs.arn("csc-0123456789abcdefg"),
            configs.arn(made.id).replace(ACCOUNT, "111111111111"),
            configs.arn(made.id).replace(REGION, "eu-west-1"),
            made.id,
        ):
            with pytest.raises(CodeSigningConfigGone):
                await configs.change(arn, {"Description": "d"})
            with pytest.raises(CodeSigningConfigGone):
                await configs.delete(arn, lambda: [])
            with pytest.raises(CodeSigningConfigNotFound, match="Check that the provided configuration is not deleted: "):
                configs.require(arn)
        with pytest.raises(InvalidParameterValue):
            await configs.create({**PUBLISHERS, "Tags": {"aws:k": "v"}})
