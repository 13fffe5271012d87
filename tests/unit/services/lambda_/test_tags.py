"""Tags of every kind of resource as boto3 sees them."""

import pytest

from tests.unit.control.support import ACCOUNT, ARN, REGION
from tests.unit.services.lambda_.support import Live, fails
from tests.unit.services.lambda_.test_code_signing import PUBLISHERS

PLACE = f"arn:aws:lambda:{REGION}:{ACCOUNT}"


@pytest.mark.parametrize("kind", ["function", "code-signing-config"])
def test_a_life(live: Live, kind: str) -> None:
    client = live.client
    if kind == "function":
        arn = live.create("tagged-by-kind", Tags={"a": "1"})["FunctionArn"]
    else:
        arn = client.create_code_signing_config(AllowedPublishers=PUBLISHERS, Tags={"a": "1"})["CodeSigningConfig"]["CodeSigningConfigArn"]
    assert client.tag_resource(Resource=arn, Tags={"a": "2", "b": "3"})["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_tags(Resource=arn)["Tags"] == {"a": "2", "b": "3"}
    assert client.untag_resource(Resource=arn, TagKeys=["a", "nothing"])["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert client.list_tags(Resource=arn)["Tags"] == {"b": "3"}
    for tags, message in (
        ({}, "An error occurred and the request cannot be processed."),
        ({str(n): "" for n in range(50)}, "Number of tags exceeds resource tag limit."),
        ({"aws:x": ""}, "aws: prefixed tag key names are not allowed for external use."),
    ):
        fails("InvalidParameterValueException", 400, message, client.tag_resource, Resource=arn, Tags=tags)


@pytest.mark.parametrize(
    ("resource", "text"),
    [
        ("function:nowhere", f"Function not found: {ARN}:nowhere"),
        ("event-source-mapping:00000000-0000-0000-0000-000000000000", "Event source mapping not found: "),
        ("capacity-provider:nowhere", f"Capacity provider not found: {PLACE}:capacity-provider:nowhere"),
        ("code-signing-config:csc-0123456789abcdefg", "can not be found."),
    ],
)
def test_what_is_not_there(live: Live, resource: str, text: str) -> None:
    client, arn = live.client, f"{PLACE}:{resource}"
    fails("ResourceNotFoundException", 404, text, client.list_tags, Resource=arn)
    fails("ResourceNotFoundException", 404, text, client.tag_resource, Resource=arn, Tags={"k": "v"})
    fails("ResourceNotFoundException", 404, text, client.untag_resource, Resource=arn, TagKeys=["k"])


def test_what_has_no_tags(live: Live) -> None:
    client = live.client
    live.create("versioned", Publish=True)
    text = "Tags on function aliases and versions are not supported. Please specify a function ARN."
    for qualifier in ("1", "$LATEST", "live"):
        fails("InvalidParameterValueException", 400, text,
              client.list_tags, Resource=f"{ARN}:versioned:{qualifier}")  # fmt: skip
    for arn in ("arn:aws:something", f"{PLACE}:foobar:x", f"{PLACE}:capacity-provider:x:alias"):
        fails("ValidationException", 400, "at 'resource' failed to satisfy constraint", client.list_tags, Resource=arn)
