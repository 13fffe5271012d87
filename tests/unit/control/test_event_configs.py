"""Event invoke configs as the control plane keeps them."""

from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.functions import EventRules
from hanabi.control.aliases import add_alias, remove_alias
from hanabi.control.arns import AccountRegion
from hanabi.control.event_configs import change_config, check_destinations, find_config, put_config, remove_config
from hanabi.control.versions import remove_version
from hanabi.errors import InvalidParameterValue, ResourceNotFound
from tests.unit.control.support import ACCOUNT, REGION, open_plane

PLACE = AccountRegion(ACCOUNT, REGION)
SQS = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"


async def test_a_config_is_kept_and_is_the_rule_of_its_qualifier(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create(Publish=True)
        await plane.functions.change("f", lambda f: add_alias(f, {"Name": "live", "FunctionVersion": "1"}))
        await plane.functions.change("f", lambda f: put_config(f, None, {"MaximumRetryAttempts": 0}, 1))
        await plane.functions.change("f", lambda f: put_config(f, "live", {"MaximumEventAgeInSeconds": 60}, 2))
        assert plane.catalog.event_rules("f", None) == EventRules(retries=0, arn=PLACE.arn("f", "$LATEST"))
        assert plane.catalog.event_rules("f", "$LATEST") == plane.catalog.event_rules("f", None)
        assert plane.catalog.event_rules("f", "live") == EventRules(age_s=60, arn=PLACE.arn("f", "live"))
        assert plane.catalog.event_rules("f", "1") == EventRules(arn=PLACE.arn("f", "1"))
        assert plane.catalog.event_rules("nowhere", None) == EventRules()
    async with open_plane(tmp_path) as plane:
        assert plane.catalog.event_rules("f", "live") == EventRules(age_s=60, arn=PLACE.arn("f", "live"))
        await plane.functions.change("f", lambda f: put_config(f, "1", {"MaximumRetryAttempts": 1}, 3))
        await plane.functions.change("f", lambda f: remove_alias(f, "live"))
        function = await plane.functions.change("f", lambda f: remove_version(f, "1"))
        assert set(function.event_configs) == {"$LATEST"}
        function = await plane.functions.change("f", lambda f: remove_config(f, None))
        assert function.event_configs == {}


async def test_put_replaces_and_change_merges(tmp_path: Path) -> None:
    async with open_plane(tmp_path) as plane:
        function = await plane.create()
        both = put_config(function, None, {"MaximumRetryAttempts": 2, "DestinationConfig": {"OnFailure": {"Destination": SQS}}}, 1)
        config = find_config(both, PLACE, "f", None)
        assert (config.retries, config.age_s, config.on_success, config.on_failure) == (2, None, None, SQS)
        changed = find_config(change_config(both, config, {"MaximumRetryAttempts": 0}, 2), PLACE, "f", None)
        assert (changed.retries, changed.on_failure, changed.modified_ms) == (0, SQS, 2)
        emptied = change_config(both, config, {"DestinationConfig": {"OnFailure": {"Destination": ""}}}, 2)
        assert find_config(emptied, PLACE, "f", None).on_failure is None
        assert find_config(put_config(both, "$LATEST", {"MaximumEventAgeInSeconds": 60}, 2), PLACE, "f", None).retries is None
        with pytest.raises(ResourceNotFound, match="The function doesn't exist."):
            put_config(function, "7", {"MaximumRetryAttempts": 0}, 1)


def given(success: str | None = None, failure: str | None = None) -> dict[str, Any]:
    return {"DestinationConfig": {"OnSuccess": {"Destination": success} if success else {}, "OnFailure": {"Destination": failure or ""}}}


@pytest.mark.parametrize(
    "params",
    [
        given(),
        given(SQS, SQS),
        given(f"arn:aws:sns:{REGION}:{ACCOUNT}:topic"),
        given(f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default"),
        given(f"arn:aws:sqs:eu-west-1:111111111111:{'q' * 80}"),
        given(PLACE.arn("other"), PLACE.arn("other", "live")),
        given(failure="arn:aws:s3:::bucket.of.failures"),
    ],
)
def test_what_may_be_a_destination(params: dict[str, Any]) -> None:
    check_destinations("f", PLACE, params, lambda name: name in ("f", "other"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (given(PLACE.arn("gone")), f"The destination ARN {PLACE.arn('gone')} is invalid."),
        (given(failure=PLACE.arn("f")), "You can't specify the function as a destination for itself."),
        (given(PLACE.arn("f", "live")), "You can't specify the function as a destination for itself."),
        (given(f"{SQS}.fifo"), f"The destination ARN {SQS}.fifo is invalid."),
        (given(AccountRegion("111111111111", REGION).arn("other")), "is invalid."),
        (given(f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:other"), "is invalid."),
        (given(PLACE.arn("other").replace("arn:aws:", "arn:aws-cn:")), "is invalid."),
        (
            given("arn:aws:s3:::bucket", SQS),
            "The provided destination config DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:s3:::bucket), "
            f"onFailure=OnFailure(destination={SQS})) is invalid.",
        ),
        (
            given(failure="kafka://topic"),
            "The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure(destination=kafka://topic)) is invalid.",
        ),
        (
            given(f"arn:aws:iam:{REGION}:{ACCOUNT}:function:f"),
            f"DestinationConfig(onSuccess=OnSuccess(destination=arn:aws:iam:{REGION}:{ACCOUNT}:function:f), onFailure=null) is invalid.",
        ),
    ],
)
def test_what_is_no_destination(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        check_destinations("f", PLACE, params, lambda name: name in ("f", "other"))
    assert message in caught.value.message
