"""Where statements are in a text, which keys conditions ask for, and what a simulated request comes to."""

import json
from typing import Any

import pytest

from hanabi.edge.auth.keys import user_principal
from hanabi.services.iam.simulation import Simulation, SourcePolicy, context_keys, find_statements
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import allow, deny

RECORDED = '{"Version": "2012-10-17", "Statement": {"Sid": "", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}}'
USER = user_principal(f"arn:aws:iam::{ACCOUNT}:user/kai", "AIDA")


def policy(*statements: dict[str, Any], source: str = "p") -> SourcePolicy:
    return SourcePolicy(source, json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def simulate(*policies: SourcePolicy, boundary: Any = None, resource_policy: Any = None, keys: Any = None, **more: Any) -> Simulation:
    return Simulation(policies, boundary, resource_policy, USER, keys or {}, **more)


def test_positions_are_those_of_aws() -> None:
    found = simulate(SourcePolicy("p", RECORDED)).run("s3:PutObject", "arn:aws:s3:::b")
    statement = {"StartPosition": {"Line": 1, "Column": 41}, "EndPosition": {"Line": 1, "Column": 113}}  # as recorded
    matched = [{"SourcePolicyId": "p", "SourcePolicyType": "IAM Policy"} | statement]
    specific = {"EvalResourceName": "arn:aws:s3:::b", "EvalResourceDecision": "allowed"}
    assert found == {
        "EvalActionName": "s3:PutObject",
        "EvalResourceName": "arn:aws:s3:::b",
        "EvalDecision": "allowed",
        "EvalDecisionDetails": {},
        "MatchedStatements": matched,
        "MissingContextValues": [],
        "ResourceSpecificResults": [specific | {"MatchedStatements": matched, "MissingContextValues": []}],
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"Statement":{"a":1}}',
        '{ "Id" : "Statement", "Statement" : [ {"a": [1, {"b": "]"}]} , {"c":"\\""} ] , "Version":"x" }',
        '\n{\n "Statement": [\n]}',
    ],
)
def test_where_statements_are(text: str) -> None:
    found = json.loads(text)["Statement"]
    assert [json.loads(text[begin:end]) for begin, end in find_statements(text)] == (found if isinstance(found, list) else [found])


def test_the_keys_that_policies_ask_for() -> None:
    condition = {"StringEquals": {"aws:username": ["${aws:userid}", "x"]}, "Bool": {"aws:SecureTransport": "true"}}
    statement = allow("s3:*", ["arn:aws:s3:::${aws:PrincipalTag/team, 'x'}/*", "arn:aws:s3:::${*}"], Condition=condition)
    assert set(context_keys([statement])) == {"aws:username", "aws:SecureTransport", "aws:userid", "aws:PrincipalTag/team"}


@pytest.mark.parametrize(
    ("options", "decision"),
    [
        ({}, "implicitDeny"),
        ({"policies": [policy(allow("s3:*"))]}, "allowed"),
        ({"policies": [policy(allow("s3:*")), policy(deny("s3:Get*"))]}, "explicitDeny"),
        ({"policies": [policy(allow("s3:*"))], "boundary": [policy(allow("ec2:*"))]}, "implicitDeny"),
        ({"policies": [policy(allow("s3:*"))], "boundary": [policy(allow("*"), deny("s3:*"))]}, "explicitDeny"),
        ({"policies": [policy(allow("s3:*"))], "boundary": [policy(allow("s3:*"))]}, "allowed"),
        ({"resource_policy": policy(allow("s3:*", Principal={"AWS": USER.arn}))}, "allowed"),
        ({"resource_policy": policy(allow("s3:*", Principal={"AWS": USER.arn})), "across": True}, "implicitDeny"),
        ({"policies": [policy(allow("s3:*"))], "resource_policy": policy(deny("s3:*", Principal="*"))}, "explicitDeny"),
    ],
)
def test_decisions(options: dict[str, Any], decision: str) -> None:
    policies = options.pop("policies", [])
    found = simulate(*policies, **options).run("s3:GetObject", "arn:aws:s3:::b/k")
    assert found["EvalDecision"] == decision
    if boundary := options.get("boundary"):
        allowed = "ec2" not in boundary[0].text and decision != "explicitDeny"
        assert found["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": allowed}


def test_missing_keys_are_those_of_statements_about_this_request() -> None:
    condition = {"StringEquals": {"aws:username": "kai", "s3:prefix": "x"}}
    other = allow("ec2:*", Condition={"Bool": {"aws:SecureTransport": "true"}})
    found = simulate(policy(allow("s3:*", Condition=condition), other), keys={"aws:username": ("kai",)}).run("s3:GetObject", "*")
    assert (found["EvalDecision"], found["MissingContextValues"]) == ("implicitDeny", ["s3:prefix"])
    assert "ResourceSpecificResults" not in found
