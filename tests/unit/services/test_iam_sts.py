"""IAM and STS, through boto3."""

import json
from typing import Any

import pytest

from tests.unit.edge.live import ACCOUNT, Live
from tests.unit.edge.test_clients import code, fails

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
TRUST_ME = json.dumps({"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}})
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


def statement(effect: str, action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Statement": [{"Effect": effect, "Action": action, "Resource": resource, **more}]}


def test_the_life_of_a_role(live: Live) -> None:
    iam = live.client("iam")
    role = iam.create_role(
        RoleName="life", Path="/service-role/", AssumeRolePolicyDocument=TRUST, Description="d <&> ü", Tags=[{"Key": "a", "Value": ""}]
    )["Role"]
    assert role["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/service-role/life" and role["RoleId"].startswith("AROA")
    assert role["AssumeRolePolicyDocument"] == json.loads(TRUST) and role["Description"] == "d <&> ü"
    assert code(fails(iam.create_role, RoleName="LIFE", AssumeRolePolicyDocument=TRUST)) == ("EntityAlreadyExists", 409)
    assert iam.get_role(RoleName="life")["Role"]["CreateDate"] == role["CreateDate"]
    iam.attach_role_policy(RoleName="life", PolicyArn=BASIC)
    iam.attach_role_policy(RoleName="life", PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName="life")["AttachedPolicies"]
    assert attached == [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": BASIC}]
    document = statement("Allow", "s3:GetObject", "arn:aws:s3:::b/*")
    iam.put_role_policy(RoleName="life", PolicyName="inline", PolicyDocument=json.dumps(document))
    assert iam.get_role_policy(RoleName="life", PolicyName="inline")["PolicyDocument"] == document
    assert iam.list_role_policies(RoleName="life")["PolicyNames"] == ["inline"]
    assert code(fails(iam.delete_role, RoleName="life")) == ("DeleteConflict", 409)
    iam.detach_role_policy(RoleName="life", PolicyArn=BASIC)
    assert code(fails(iam.detach_role_policy, RoleName="life", PolicyArn=BASIC)) == ("NoSuchEntity", 404)
    assert code(fails(iam.delete_role, RoleName="life")) == ("DeleteConflict", 409)
    iam.delete_role_policy(RoleName="life", PolicyName="inline")
    iam.update_assume_role_policy(RoleName="life", PolicyDocument=TRUST_ME)
    iam.tag_role(RoleName="life", Tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "1"}])
    iam.untag_role(RoleName="life", TagKeys=["b"])
    assert iam.list_role_tags(RoleName="life")["Tags"] == [{"Key": "a", "Value": "1"}]
    assert iam.list_instance_profiles_for_role(RoleName="life")["InstanceProfiles"] == []
    iam.delete_role(RoleName="life")
    error = fails(iam.get_role, RoleName="life")
    assert code(error) == ("NoSuchEntity", 404) and error["Error"]["Message"] == "The role with name life cannot be found."


def test_roles_come_in_pages(live: Live) -> None:
    iam = live.client("iam")
    for number in range(5):
        iam.create_role(RoleName=f"page{number}", Path="/pages/", AssumeRolePolicyDocument=TRUST)
    pages = list(iam.get_paginator("list_roles").paginate(PathPrefix="/pages/", PaginationConfig={"PageSize": 2}))
    assert [[role["RoleName"] for role in page["Roles"]] for page in pages] == [["page0", "page1"], ["page2", "page3"], ["page4"]]
    assert pages[0]["IsTruncated"] and not pages[-1]["IsTruncated"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("nonsense", "This policy contains invalid Json"),
        ("[]", "Syntax errors in policy."),
        (json.dumps(statement("Allow", "sts:AssumeRole", Principal="*")), "Has prohibited field Resource"),
        (json.dumps({"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}), "Missing required field Principal"),
    ],
)
def test_malformed_trust_policies(live: Live, document: str, message: str) -> None:
    error = fails(live.client("iam").create_role, RoleName="bad", AssumeRolePolicyDocument=document)
    assert code(error) == ("MalformedPolicyDocument", 400) and error["Error"]["Message"] == message


def test_query_validation(live: Live) -> None:
    error = fails(live.client("iam").create_role, RoleName="a b", AssumeRolePolicyDocument=TRUST, Tags=[{"Key": "#", "Value": "ok"}])
    assert code(error) == ("ValidationError", 400)
    assert error["Error"]["Message"].startswith("2 validation errors detected: Value at 'roleName' failed to satisfy constraint: ")
    assert "Value at 'tags.1.member.key' failed to satisfy constraint" in error["Error"]["Message"]
    error = fails(live.client("iam").list_roles, MaxItems="many")
    assert code(error) == ("MalformedInput", 400)
    assert code(fails(live.client("iam").generate_credential_report))[1] == 501


def test_assume_role_and_use_it(live: Live) -> None:
    iam, sts = live.client("iam"), live.client("sts")
    for name, trust in (("closed", TRUST), ("open", TRUST_ME)):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    arn = f"arn:aws:iam::{ACCOUNT}:role/"
    assert code(fails(sts.assume_role, RoleArn=f"{arn}closed", RoleSessionName="me")) == ("AccessDenied", 403)
    assert code(fails(sts.assume_role, RoleArn=f"{arn}absent", RoleSessionName="me")) == ("AccessDenied", 403)
    error = fails(sts.assume_role, RoleArn=f"{arn}open", RoleSessionName="Session1:2")
    assert error["Error"]["Message"] == (
        r"1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: "
        r"Member must satisfy regular expression pattern: [\w+=,.@-]*"
    )
    answer = sts.assume_role(RoleArn=f"{arn}open", RoleSessionName="me", DurationSeconds=900)
    credentials = answer["Credentials"]
    mine: dict[str, Any] = {
        "aws_access_key_id": credentials["AccessKeyId"],
        "aws_secret_access_key": credentials["SecretAccessKey"],
        "aws_session_token": credentials["SessionToken"],
    }
    identity = live.client("sts", **mine).get_caller_identity()
    assert identity["Arn"] == answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/open/me"
    assert identity["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    functions = live.client("lambda", **mine)
    assert code(fails(functions.invoke, FunctionName="f", Payload=b"{}")) == ("AccessDeniedException", 403)  # no policy: nothing
    policy = statement("Allow", "lambda:Invoke*", f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f")
    iam.put_role_policy(RoleName="open", PolicyName="p", PolicyDocument=json.dumps(policy))
    assert functions.invoke(FunctionName="f", Payload=b"{}")["StatusCode"] == 200
    assert functions.invoke(FunctionName=f"{ACCOUNT}:function:f", Payload=b"{}")["StatusCode"] == 200
    error = fails(functions.invoke, FunctionName="g", Payload=b"{}")
    assert code(error) == ("AccessDeniedException", 403)
    assert error["Error"]["Message"].startswith(
        f"User: {identity['Arn']} is not authorized to perform: lambda:InvokeFunction on resource: "
    )
    iam.delete_role_policy(RoleName="open", PolicyName="p")
    iam.attach_role_policy(RoleName="open", PolicyArn=BASIC)
    assert code(fails(functions.invoke, FunctionName="f", Payload=b"{}"))[1] == 403  # a managed policy restricts as well
    del mine["aws_session_token"]
    assert code(fails(live.client("sts", **mine).get_caller_identity)) == ("InvalidClientTokenId", 403)


def test_inside_an_environment_only_its_own_key_counts(live: Live) -> None:
    outside = live.client("sts", endpoint_url=f"http://127.0.0.1:{live.inside_port}")
    assert code(fails(outside.get_caller_identity)) == ("InvalidClientTokenId", 403)
    arn = live.inside_client("sts").get_caller_identity()["Arn"]
    assert arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/inside/function"
    assert code(fails(live.inside_client("lambda").list_functions)) == ("AccessDeniedException", 403)
    iam = live.client("iam")
    iam.create_role(RoleName="inside", AssumeRolePolicyDocument=TRUST)  # another role: this one has no path
    iam.attach_role_policy(RoleName="inside", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    assert code(fails(live.inside_client("lambda").list_functions)) == ("AccessDeniedException", 403)
    iam.detach_role_policy(RoleName="inside", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    iam.delete_role(RoleName="inside")
    iam.create_role(RoleName="inside", Path="/service/", AssumeRolePolicyDocument=TRUST)
    iam.attach_role_policy(RoleName="inside", PolicyArn="arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess")
    assert "Functions" in live.inside_client("lambda").list_functions()
