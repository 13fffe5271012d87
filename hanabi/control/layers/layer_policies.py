"""Resource policies of layer versions. Pure: each function takes a layer version and returns a new one."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hanabi.control.layers.model import LayerVersion
from hanabi.control.model import new_id
from hanabi.control.resource_policies import check_policy_size, policy_text, read_principal, refuse_known_sid
from hanabi.control.versions import check_revision
from hanabi.errors import ResourceNotFound


def find_policy(version: LayerVersion) -> tuple[str, str]:
    """Return (policy as JSON, its revision)."""
    if not version.policy:
        raise ResourceNotFound("No policy is associated with the given resource.")
    return policy_text(version.policy), version.policy_revision


def statement_text(version: LayerVersion, sid: str) -> str:
    return json.dumps(next(statement for statement in version.policy if statement["Sid"] == sid), separators=(",", ":"))


def add_statement(version: LayerVersion, arn: str, params: Mapping[str, Any]) -> LayerVersion:
    """Add a statement. `params` are AddLayerVersionPermission's."""
    refuse_known_sid(version.policy, params["StatementId"])
    check_revision(params.get("RevisionId"), version.policy_revision, "GetLayerPolicy")
    statement: dict[str, Any] = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": read_principal(params["Principal"], arn.split(":")[1]),
        "Action": params["Action"],
        "Resource": arn,
    }
    if params.get("OrganizationId"):
        statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": params["OrganizationId"]}}
    statements = (*version.policy, statement)
    check_policy_size(statements)
    return replace(version, policy=statements, policy_revision=new_id())


def is_shared_with(version: LayerVersion, account: str) -> bool:
    """Whether a version's policy lets another account have it. Conditions are about organizations, which there are none of."""
    for statement in version.policy:
        principal = statement["Principal"]
        named = principal.get("AWS", "") if isinstance(principal, dict) else principal
        mine = named == "*" or account in (named, named.rpartition(":iam::")[2].removesuffix(":root"))
        if account and mine and statement["Effect"] == "Allow" and not statement.get("Condition"):
            return True
    return False


def remove_statement(version: LayerVersion, sid: str, revision_id: str | None) -> LayerVersion:
    kept = tuple(statement for statement in version.policy if statement["Sid"] != sid)
    if len(kept) == len(version.policy):
        raise ResourceNotFound(f"Statement {sid} is not found in resource policy.")
    check_revision(revision_id, version.policy_revision, "GetLayerPolicy")
    return replace(version, policy=kept, policy_revision=new_id())
