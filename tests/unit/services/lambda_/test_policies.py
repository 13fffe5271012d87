"""Resource policies as a whole, as boto3 sees them."""

import json
from typing import Any

from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails


def document(arn: str, *statements: dict[str, Any], **more: Any) -> str:
    own = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "lambda:InvokeFunction", "Resource": arn}
    return json.dumps({"Version": "2012-10-17", **more, "Statement": [own, *statements]})


def test_a_policy_comes_whole_and_goes(live: Live) -> None:
    client = live.client
    live.create("governed", Publish=True)
    arn = f"{ARN}:governed"
    fails("ResourceNotFoundException", 404, "The resource you requested does not exist.", client.get_resource_policy, ResourceArn=arn)
    client.add_permission(FunctionName="governed", StatementId="old", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    before = client.get_resource_policy(ResourceArn=arn)
    assert before["Policy"] == client.get_policy(FunctionName="governed")["Policy"]
    deny = {"Sid": "no", "Effect": "Deny", "Principal": "*", "Action": "lambda:*", "Resource": arn}
    given = document(arn, deny)
    put = client.put_resource_policy(ResourceArn=arn, Policy=given, RevisionId=before["RevisionId"])
    got = client.get_resource_policy(ResourceArn=arn)
    assert json.loads(put["Policy"]) == json.loads(got["Policy"]) == json.loads(given) and put["RevisionId"] == got["RevisionId"]
    fails("PreconditionFailedException", 412, "Call the GetResourcePolicy API", client.put_resource_policy, ResourceArn=arn, Policy=given,
          RevisionId=before["RevisionId"])  # fmt: skip
    client.add_permission(FunctionName="governed", StatementId="new", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
    sids = [statement.get("Sid") for statement in json.loads(client.get_resource_policy(ResourceArn=arn)["Policy"])["Statement"]]
    assert sids == [None, "no", "new"]
    client.remove_permission(FunctionName="governed", StatementId="new")
    fails("PreconditionFailedException", 412, "", client.delete_resource_policy, ResourceArn=arn, RevisionId=before["RevisionId"])
    assert client.delete_resource_policy(ResourceArn=arn)["ResponseMetadata"]["HTTPStatusCode"] == 204
    fails("ResourceNotFoundException", 404, "No policy is associated", client.delete_resource_policy, ResourceArn=arn)
    client.add_permission(FunctionName="governed", StatementId="again", Action="lambda:InvokeFunction", Principal="*")
    assert json.loads(client.get_policy(FunctionName="governed")["Policy"])["Id"] == "default"
    client.put_resource_policy(ResourceArn=f"{arn}:1", Policy=document(f"{arn}:1", Id="mine"))
    assert json.loads(client.get_policy(FunctionName="governed", Qualifier="1")["Policy"])["Id"] == "mine"


def test_what_is_no_policy(live: Live) -> None:
    client = live.client
    live.create("ungoverned")
    arn = f"{ARN}:ungoverned"
    own = json.loads(document(arn))["Statement"][0]
    for policy in (
        "{",
        "[]",
        json.dumps({"Version": "2012-10-17", "Statement": []}),
        json.dumps({"Version": "2008-10-17", "Statement": [own]}),
        json.dumps({"Version": "2012-10-17", "Statement": [own], "Other": 1}),
        document(arn, {key: value for key, value in own.items() if key != "Principal"}),
        document(arn, {key: value for key, value in own.items() if key != "Resource"}),
        document(arn, own | {"Resource": f"{arn}:1"}),
        document(arn, own | {"Resource": "*"}),
        document(arn, own | {"Effect": "Perhaps"}),
        document(arn, own | {"Sid": 1}),
        document(arn, own | {"Condition": {"Unheard": {"a": "b"}}}),
    ):
        fails("InvalidParameterValueException", 400, "", client.put_resource_policy, ResourceArn=arn, Policy=policy)
    text = "We currently do not support adding policies for $LATEST."
    fails("InvalidParameterValueException", 400, text, client.put_resource_policy, ResourceArn=f"{arn}:$LATEST", Policy=document(arn))
    fails(
        "ResourceNotFoundException",
        404,
        "Function not found",
        client.put_resource_policy,
        ResourceArn=f"{ARN}:nowhere",
        Policy=document(arn),
    )
    runtime = ARN.replace(":function", ":runtime/mine/version/1")
    fails("ResourceNotFoundException", 404, "", client.get_resource_policy, ResourceArn=runtime)
    many = [own | {"Sid": f"s{number}"} for number in range(150)]
    fails("ValidationException", 400, "at 'policy'", client.put_resource_policy, ResourceArn=arn, Policy=document(arn, *many))
