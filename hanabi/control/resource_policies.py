"""Resource policies of functions; `hanabi.edge.auth` evaluates them. Pure: each function takes a function value and returns a new one."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hanabi.control.arns import LATEST
from hanabi.control.model import Function, new_id
from hanabi.control.versions import check_revision
from hanabi.errors import InvalidParameterValue, PolicyLengthExceeded, ResourceConflict, ResourceNotFound
from hanabi.quotas import POLICY_BYTES

DEFAULT_ID = "default"  # of a policy that AddPermission makes

# (parameter, operator, condition key)
_CONDITIONS = (
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
    ("InvokedViaFunctionUrl", "Bool", "lambda:InvokedViaFunctionUrl"),
)


def policy_text(statements: Sequence[Mapping[str, Any]], id: str = DEFAULT_ID) -> str:
    named = {"Id": id} if id else {}
    return json.dumps({"Version": "2012-10-17", **named, "Statement": list(statements)}, separators=(",", ":"))


def refuse_known_sid(statements: tuple[Mapping[str, Any], ...], sid: str) -> None:
    if any(statement.get("Sid") == sid for statement in statements):
        raise ResourceConflict(
            f"The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the existing statement."
        )


def check_policy_size(statements: tuple[Mapping[str, Any], ...]) -> None:
    size = len(policy_text(statements))
    if size > POLICY_BYTES:
        raise PolicyLengthExceeded(f"The final policy size ({size}) is bigger than the limit ({POLICY_BYTES}).")


def find_policy(function: Function | None, qualifier: str | None) -> tuple[str, str]:
    """Return (policy as JSON, revision of its resource)."""
    statements = function.policies.get(qualifier or LATEST) if function else None
    if function is None or not statements:
        raise ResourceNotFound("The resource you requested does not exist.")
    return policy_text(statements, _id_of(function, qualifier)), _revision(function, qualifier)


def find_statement(function: Function, qualifier: str | None, sid: str) -> Mapping[str, Any]:
    return next(statement for statement in function.policies[qualifier or LATEST] if statement.get("Sid") == sid)


def add_statement(function: Function, qualifier: str | None, params: Mapping[str, Any]) -> Function:
    """Add a statement. `params` are AddPermission's."""
    _refuse_latest(qualifier)
    check_revision(params.get("RevisionId"), _revision(function, qualifier), "GetPolicy")
    statements = function.policies.get(qualifier or LATEST, ())
    sid = params["StatementId"]
    refuse_known_sid(statements, sid)
    arn = f"{function.arn}:{qualifier}" if qualifier else function.arn
    statements = (*statements, _make_statement(function, arn, params))
    check_policy_size(statements)
    return _with_statements(function, qualifier, statements, _id_of(function, qualifier))


def remove_statement(function: Function, qualifier: str | None, sid: str, revision_id: str | None) -> Function:
    current = _revision(function, qualifier)
    statements = function.policies.get(qualifier or LATEST)
    if not statements:
        raise ResourceNotFound("No policy is associated with the given resource.")
    kept = tuple(statement for statement in statements if statement.get("Sid") != sid)
    if len(kept) == len(statements):
        raise ResourceNotFound(f"Statement {sid} is not found in resource policy.")
    check_revision(revision_id, current)
    return _with_statements(function, qualifier, kept, _id_of(function, qualifier))


def put_policy(
    function: Function, qualifier: str | None, statements: tuple[Mapping[str, Any], ...], id: str, revision_id: str | None
) -> Function:
    """Replace the policy whole, as PutResourcePolicy does. The statements are those of a valid policy."""
    _refuse_latest(qualifier)
    check_revision(revision_id, _revision(function, qualifier), "GetResourcePolicy")
    arn = f"{function.arn}:{qualifier}" if qualifier else function.arn
    for statement in statements:
        named = statement.get("Resource")
        if (named if isinstance(named, list) else [named]) != [arn]:
            raise InvalidParameterValue(f"The Resource of each statement must be the resource that the policy is for: {arn}.")
    check_policy_size(statements)
    return _with_statements(function, qualifier, statements, id)


def delete_policy(function: Function, qualifier: str | None, revision_id: str | None) -> Function:
    """Delete the policy whole, as DeleteResourcePolicy does."""
    current = _revision(function, qualifier)
    if not function.policies.get(qualifier or LATEST):
        raise ResourceNotFound("No policy is associated with the given resource.")
    check_revision(revision_id, current, "GetResourcePolicy")
    return _with_statements(function, qualifier, (), DEFAULT_ID)


def _refuse_latest(qualifier: str | None) -> None:
    if qualifier == LATEST:
        raise InvalidParameterValue("We currently do not support adding policies for $LATEST.")


def _id_of(function: Function, qualifier: str | None) -> str:
    """Return the Id of a policy; empty: it was put without one."""
    key = qualifier or LATEST
    return function.policy_ids.get(key, DEFAULT_ID) if function.policies.get(key) else DEFAULT_ID


def _make_statement(function: Function, arn: str, params: Mapping[str, Any]) -> dict[str, Any]:
    statement = {
        "Sid": params["StatementId"],
        "Effect": "Allow",
        "Principal": read_principal(params["Principal"], function.arn.split(":")[1]),
        "Action": params["Action"],
        "Resource": arn,
    }
    condition: dict[str, dict[str, str]] = {}
    for parameter, operator, key in _CONDITIONS:
        value = params.get(parameter)
        if value is not None and value != "":
            condition.setdefault(operator, {})[key] = "true" if value is True else "false" if value is False else value
    return statement | ({"Condition": condition} if condition else {})


def read_principal(text: str, partition: str) -> str | dict[str, str]:
    if text == "*":
        return text
    if re.fullmatch(r"\d{12}", text, re.ASCII):
        return {"AWS": f"arn:{partition}:iam::{text}:root"}
    if re.fullmatch(r"arn:aws[a-z-]*:(?:iam|sts)::.+", text):
        return {"AWS": text}
    if re.fullmatch(r"[a-z0-9.-]+\.amazon(?:aws)?\.com(?:\.cn)?", text):
        return {"Service": text}
    raise InvalidParameterValue("The provided principal was invalid. Please check the principal and try again.")


def _revision(function: Function, qualifier: str | None) -> str:
    """Return the revision of the policy's resource, which must exist."""
    alias = function.aliases.get(qualifier) if qualifier else None
    if alias is not None:
        return alias.revision_id
    version = function.version(qualifier or LATEST)
    if version is None:
        alias_like = qualifier is not None and not qualifier.isdigit() and "$" not in qualifier
        raise ResourceNotFound(f"{'Cannot find alias arn' if alias_like else 'Function not found'}: {function.arn}:{qualifier}")
    return version.revision_id


def _with_statements(function: Function, qualifier: str | None, statements: tuple[Mapping[str, Any], ...], id: str) -> Function:
    """Return the function with a new policy, and revision, of `$LATEST`, a version or an alias."""
    policies = {key: kept for key, kept in function.policies.items() if key != (qualifier or LATEST)}
    if statements:
        policies[qualifier or LATEST] = statements
    ids = {key: kept for key, kept in function.policy_ids.items() if key in policies and key != (qualifier or LATEST)}
    if statements and id != DEFAULT_ID:
        ids[qualifier or LATEST] = id
    function = replace(function, policies=policies, policy_ids=ids)
    if qualifier is None:
        return replace(function, latest=replace(function.latest, revision_id=new_id()))
    if qualifier in function.aliases:
        alias = replace(function.aliases[qualifier], revision_id=new_id())
        return replace(function, aliases={**function.aliases, qualifier: alias})
    version = replace(function.versions[qualifier], revision_id=new_id())
    return replace(function, versions={**function.versions, qualifier: version})
