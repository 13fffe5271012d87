"""Policies as AWS evaluates them: elements, conditions, variables, resource policies."""

import json
from random import Random
from typing import Any

import pytest

from hanabi.contracts.credentials import Principal
from hanabi.edge.auth.evaluate import AccessRequest, Verdict, Verdicts, evaluate_identity_policies, evaluate_resource_policy
from hanabi.edge.auth.keys import session_principal
from hanabi.edge.auth.policy_documents import MalformedPolicyDocument, check_document
from tests.unit.control.support import ACCOUNT
from tests.unit.edge.world import FUNCTION, ROLE, allow, deny

ARN = f"{FUNCTION}:f"
FACTS = {
    "aws:username": ("kai",),
    "aws:principalarn": (f"{ROLE}/team/x",),
    "aws:sourceip": ("10.1.2.3",),
    "aws:currenttime": ("2026-11-28T12:00:00Z",),
    "aws:epochtime": ("1796212800",),
    "aws:securetransport": ("false",),
    "aws:tagkeys": ("a", "b"),
    "k": ("v*",),
    "n": ("5",),
    "empty": ("",),
}


def judge(*found: dict[str, Any], version: str = "2012-10-17", action: str = "lambda:GetFunction", resource: str = ARN) -> Verdict:
    return evaluate_identity_policies([{"Version": version, "Statement": list(found)}], AccessRequest(action, (resource,), FACTS))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([], "none"),
        ([allow("*")], "allow"),
        ([allow(["s3:*", "LAMBDA:getfunctio?"], [ARN])], "allow"),
        ([allow("lambda:Get*", "arn:aws:lambda:*:function:g")], "none"),
        ([allow("lambda:Get*", ARN.upper())], "none"),
        ([allow("*"), deny("lambda:*", f"{ARN}*")], "deny"),
        ([deny("lambda:*"), allow("*")], "deny"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:s3:*"}], "allow"),
        ([{"Effect": "Allow", "NotAction": "lambda:*", "Resource": "*"}], "none"),
        ([allow("*"), {"Effect": "Deny", "Action": "*", "NotResource": [ARN]}], "allow"),
        ([allow("*"), {"Effect": "Deny", "Action": "*", "NotResource": [f"{ARN}g"]}], "deny"),
        ([allow("lambda:GetFunction.*")], "none"),
        ([allow("*", [])], "none"),
    ],
)
def test_elements(found: list[dict[str, Any]], verdict: str) -> None:
    assert judge(*found).value == verdict


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:username": "kai"}}, True),
        ({"StringEquals": {"AWS:UserName": ["bo", "kai"]}}, True),
        ({"StringEquals": {"aws:username": "KAI"}}, False),
        ({"StringEquals": {"aws:username": "k*"}}, False),
        ({"StringEquals": {"k": "v*"}}, True),
        ({"StringLike": {"k": "v${*}"}}, True),
        ({"StringLike": {"aws:username": "ka${?}"}}, False),
        ({"StringEqualsIgnoreCase": {"aws:username": "KAI"}}, True),
        ({"StringNotEquals": {"aws:username": ["bo", "kai"]}}, False),
        ({"StringNotEquals": {"aws:username": ["bo", "al"]}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:username": "KAI"}}, False),
        ({"StringLike": {"aws:username": "k*"}, "StringEquals": {"n": "6"}}, False),
        ({"StringLike": {"aws:username": "k*", "n": "6"}}, False),
        ({"StringNotLike": {"aws:username": "k*"}}, False),
        ({"StringEquals": {"absent": "x"}}, False),
        ({"StringNotEquals": {"absent": "x"}}, True),
        ({"StringEqualsIfExists": {"absent": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:username": "x"}}, False),
        ({"NumericEquals": {"n": "5.0"}, "NumericLessThan": {"n": 6}, "NumericGreaterThanEquals": {"n": 5}}, True),
        ({"NumericLessThanEquals": {"n": "4"}}, False),
        ({"NumericGreaterThan": {"aws:username": "4"}}, False),
        ({"NumericNotEquals": {"n": "4"}}, True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}, "DateLessThan": {"aws:CurrentTime": "2027-01-01"}}, True),
        ({"DateLessThanEquals": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, False),
        ({"DateGreaterThanEquals": {"aws:EpochTime": "1700000000"}}, True),
        ({"DateLessThan": {"aws:username": "2027-01-01"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"Bool": {"aws:SecureTransport": False}}, True),
        ({"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "10.0.0.0/8"]}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.1.2.4"}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"IpAddress": {"aws:SourceIp": "nonsense"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/team/*"}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam:*:role/team/x"}}, False),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, False),
        ({"BinaryEquals": {"k": "dg=="}}, False),
        ({"Null": {"absent": "true", "n": "false"}}, True),
        ({"Null": {"n": True}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}, False),
        ({"ForAllValues:StringEquals": {"absent": "x"}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["b", "z"]}}, True),
        ({"ForAnyValue:StringEquals": {"absent": "x"}}, False),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": "a"}}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": "a"}}, False),
        ({"StringLike": {"aws:PrincipalArn": "*/${n}"}}, False),
        ({"StringEquals": {"k": "${k}"}}, True),
        ({"StringEquals": {"aws:username": "${absent, 'kai'}"}}, True),
        ({"StringEquals": {"aws:username": "${absent}"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    check_document(json.dumps({"Statement": allow("*", Condition=condition)}), trust=False)
    assert (judge(allow("*", Condition=condition)) is Verdict.ALLOW) is holds
    assert (judge(allow("*"), deny("*", Condition=condition)) is Verdict.DENY) is holds


def test_variables_are_of_the_newer_version_and_do_not_open_patterns() -> None:
    own = allow("*", f"{FUNCTION}:${{aws:username}}")
    assert judge(own, resource=f"{FUNCTION}:kai") is Verdict.ALLOW
    assert judge(own, resource=f"{FUNCTION}:kai", version="2008-10-17") is Verdict.NONE
    assert judge(allow("*", f"{FUNCTION}:${{k}}"), resource=f"{FUNCTION}:vvv") is Verdict.NONE  # its value is v*
    assert judge(allow("*", f"{FUNCTION}:${{k}}"), resource=f"{FUNCTION}:v*") is Verdict.ALLOW
    assert judge(allow("*", f"{FUNCTION}:${{absent}}"), resource=f"{FUNCTION}:") is Verdict.NONE
    assert judge(allow("*"), deny("*", [f"{FUNCTION}:${{absent}}", ARN])) is Verdict.DENY  # one that is unresolved hides no other


def test_a_condition_that_was_never_checked_opens_nothing() -> None:
    conditions: list[Any] = [{"StringSortOf": {"k": "v"}}, "x", {"StringEquals": "x"}, {"Null": {"k": {}}}]
    for condition in conditions:
        assert judge(allow("*", Condition=condition)) is Verdict.NONE
        assert judge(allow("*"), deny("*", Condition=condition)) is Verdict.DENY
        with pytest.raises(MalformedPolicyDocument):
            check_document(json.dumps({"Statement": allow("*", Condition=condition)}), trust=False)


@pytest.mark.parametrize(
    "text",
    [
        '{"Statement": {"Effect": "Allow", "Action": "*", "NotAction": "*", "Resource": "*"}}',
        '{"Statement": {"Effect": "Allow", "Action": 1, "Resource": "*"}}',
        '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": [{}]}}',
        '{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Efect": "Deny"}}',
        '{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "NotPrincipal": {"AWS": "1"}}}',
    ],
)
def test_what_is_no_policy(text: str) -> None:
    with pytest.raises(MalformedPolicyDocument):
        check_document(text, trust="NotPrincipal" in text)


def anything(random: Random, depth: int = 3) -> Any:
    """A value of JSON, made of words that policies have."""
    operators = ["StringLike", "Null", "Bool", "IpAddress", "DateLessThan", "ForAllValues:ArnLike"]
    words = ["Allow", "Deny", "*", "lambda:*", "k", "true", *operators]
    keys = ["Effect", "Action", "NotAction", "Resource", "NotResource", "Principal", "Condition", "Sid", "AWS", "k", *operators]
    kind = random.randrange(8 if depth else 5)
    if kind < 3:
        return random.choice([*words, "${k}", "${absent}", "${", "a:b:c:d:e:f", "10.0.0.0/8", "2026-01-01", "\ue000"])
    if kind < 5:
        return random.choice([0, -1, 1e999, True, None, "", [], {}])
    if kind == 5:
        return [anything(random, depth - 1) for _ in range(random.randrange(4))]
    return {random.choice(keys): anything(random, depth - 1) for _ in range(random.randrange(6))}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_passes_for_a_policy_can_be_evaluated(seed: int) -> None:
    random, passed = Random(seed), 0
    for _ in range(4000):
        trust = random.random() < 0.5
        changed = random.sample(["Action", "Resource", "Principal", "Condition", "NotAction", "Sid", "Effect"], 2)
        given = {"Effect": "Allow", "Action": "sts:*", "Principal" if trust else "Resource": "*"} | {
            key: anything(random) for key in changed
        }
        if random.random() < 0.5:  # what names nothing that AWS knows is refused early
            given |= {key: random.choice(["sts:*", ["sts:AssumeRole"]]) for key in ("Action", "NotAction") if key in given}
        document = {"Version": "2012-10-17", "Statement": random.choice([given, [given, given]])}
        try:
            check_document(json.dumps(document), trust=trust)
        except MalformedPolicyDocument:
            continue
        passed += 1
        request = AccessRequest("lambda:GetFunction", (ARN,), FACTS)
        evaluate_identity_policies([document], request)
        for caller in (SESSION, OWNER, None, "lambda.amazonaws.com"):
            evaluate_resource_policy([given], caller, request)
    assert passed > 50


SESSION = session_principal(f"{ROLE}/team/x", "me")
OWNER = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, True)


@pytest.mark.parametrize(
    ("principal", "verdict"),
    [
        ("*", "allow"),
        ({"AWS": "*"}, "allow"),
        ({"AWS": f"{ROLE}/team/x"}, "allow"),
        ({"AWS": SESSION.arn}, "direct"),
        ({"AWS": [f"{ROLE}/team/x", SESSION.arn]}, "direct"),
        ({"AWS": [f"{ROLE}/x", f"{ROLE}/team/x"]}, "allow"),
        ({"AWS": ACCOUNT}, "delegated"),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "delegated"),
        ({"AWS": f"{ROLE}/x"}, "none"),
        ({"AWS": f"{ROLE}/*"}, "none"),
        ({"AWS": "111111111111"}, "none"),
        ({"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/x/*"}, "none"),
        ({"Service": "lambda.amazonaws.com"}, "none"),
        ({}, "none"),
    ],
)
def test_whom_a_resource_policy_names(principal: Any, verdict: str) -> None:
    request = AccessRequest("lambda:InvokeFunction", (ARN,), FACTS)
    statement = {"Effect": "Allow", "Principal": principal, "Action": "lambda:InvokeFunction", "Resource": ARN}
    assert evaluate_resource_policy([statement], SESSION, request).value == verdict
    assert evaluate_resource_policy([statement | {"Resource": f"{ARN}:1"}], SESSION, request) is Verdict.NONE
    assert evaluate_resource_policy([statement, statement | {"Effect": "Deny", "Principal": "*"}], SESSION, request) is Verdict.DENY
    assert (evaluate_resource_policy([statement], None, request) is Verdict.ALLOW) is (principal in ("*", {"AWS": "*"}))


NONE, DELEGATED, ALLOW, DIRECT, DENY = Verdict
NO_IDENTITY, NO_BOUNDARY, NO_SESSION, NO_RESOURCE = (
    f" because no {kind} allows the a:b action"
    for kind in ("identity-based policy", "permissions boundary", "session policy", "resource-based policy")
)


@pytest.mark.parametrize(
    ("verdicts", "within", "across", "trust"),
    [
        # identity, resource, boundary, session -> the refusal in one account, across accounts, of a role to assume
        ((NONE, NONE, None, None), NO_IDENTITY, NO_RESOURCE, ""),
        ((ALLOW, NONE, None, None), None, NO_RESOURCE, ""),
        ((NONE, ALLOW, None, None), None, NO_IDENTITY, None),
        ((NONE, DIRECT, None, None), None, NO_IDENTITY, None),
        ((NONE, DELEGATED, None, None), NO_IDENTITY, NO_IDENTITY, ""),
        ((ALLOW, DELEGATED, None, None), None, None, None),
        ((ALLOW, ALLOW, None, None), None, None, None),
        ((ALLOW, ALLOW, NONE, None), NO_BOUNDARY, NO_BOUNDARY, NO_BOUNDARY),
        ((ALLOW, ALLOW, None, NONE), NO_SESSION, NO_SESSION, NO_SESSION),
        ((NONE, ALLOW, NONE, None), NO_BOUNDARY, NO_IDENTITY, NO_BOUNDARY),  # a role's name is capped, a session's is not
        ((NONE, DIRECT, NONE, NONE), None, NO_IDENTITY, None),
        ((ALLOW, DIRECT, NONE, NONE), None, NO_BOUNDARY, None),
        ((NONE, NONE, ALLOW, ALLOW), NO_IDENTITY, NO_RESOURCE, ""),  # what caps gives nothing
        ((ALLOW, ALLOW, ALLOW, ALLOW), None, None, None),
    ],
)
def test_what_all_policies_say_together(verdicts: Any, within: str | None, across: str | None, trust: str | None) -> None:
    found = Verdicts(*verdicts)
    assert found.refusal("a:b") == within
    assert found.refusal("a:b", across=True) == across
    assert found.refusal("a:b", trust=True) == trust


def test_an_explicit_deny_of_any_kind_wins() -> None:
    kinds = ("an identity-based policy", "a resource-based policy", "a permissions boundary", "a session policy")
    for place, kind in enumerate(kinds):
        for resource in (ALLOW, DIRECT):
            verdicts = [ALLOW, resource, ALLOW, ALLOW]
            verdicts[place] = DENY
            for options in ({}, {"across": True}, {"trust": True}):
                assert Verdicts(*verdicts).refusal("a:b", **options) == f" with an explicit deny in {kind}"


def test_not_principal_denies_all_but_those() -> None:
    request = AccessRequest("lambda:InvokeFunction", (ARN,), FACTS)
    statement = {"Effect": "Deny", "NotPrincipal": {"AWS": [f"{ROLE}/team/x"]}, "Action": "*", "Resource": "*"}
    assert evaluate_resource_policy([statement], SESSION, request) is Verdict.NONE
    for caller in (OWNER, None, session_principal(f"{ROLE}/x", "me")):
        assert evaluate_resource_policy([statement], caller, request) is Verdict.DENY
