"""Whether policies allow a request: an explicit Deny wins, then one Allow is enough, else it is denied."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hanabi.contracts.credentials import Principal
from hanabi.edge.auth.conditions import ConditionKeys, Unresolved, covers, expand, holds, is_condition
from hanabi.edge.auth.policy_documents import listed, statements

VARIABLES_SINCE = "2012-10-17"  # documents of an older version have no variables


class Verdict(Enum):
    NONE = "none"  # nothing is said about it
    DELEGATED = "delegated"  # a resource policy names the account: its identity policies decide
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One action on one resource. `resources` are all ARNs by which a policy may name it."""

    action: str
    resources: tuple[str, ...]
    condition_keys: ConditionKeys


def evaluate_identity_policies(documents: Iterable[Mapping[str, Any]], request: AccessRequest) -> Verdict:
    """Evaluate the caller's own policies."""
    verdict = Verdict.NONE
    for document in documents:
        variables = document.get("Version") == VARIABLES_SINCE
        for statement in statements(dict(document)):
            if _applies(statement, request, variables):
                if statement["Effect"] == "Deny":
                    return Verdict.DENY
                verdict = Verdict.ALLOW
    return verdict


def evaluate_resource_policy(policy: Iterable[Mapping[str, Any]], caller: Principal | str | None, request: AccessRequest) -> Verdict:
    """Evaluate a resource's policy for a caller. None is an unsigned caller; a text is the name of an AWS service."""
    verdict = Verdict.NONE
    for statement in policy:
        named = _names(statement, caller)
        if named is Verdict.NONE or not _applies(statement, request, variables=True):
            continue
        if statement["Effect"] == "Deny":
            return Verdict.DENY
        if named is Verdict.ALLOW or verdict is Verdict.NONE:
            verdict = named
    return verdict


def _applies(statement: Mapping[str, Any], request: AccessRequest, variables: bool) -> bool:
    if not _covers(statement, "Action", lambda pattern: covers(pattern, request.action, ignore_case=True)):
        return False

    def names_resource(pattern: str) -> bool:
        try:
            expanded = expand(pattern, request.condition_keys, variables)
        except Unresolved:
            return False
        return any(covers(expanded, arn) for arn in request.resources)

    if ("Resource" in statement or "NotResource" in statement) and not _covers(statement, "Resource", names_resource):
        return False
    condition = statement.get("Condition")
    if not condition:
        return True
    if not is_condition(condition):  # of a document that was never checked: it must not open anything
        return bool(statement["Effect"] == "Deny")
    return holds(condition, request.condition_keys, variables)


def _covers(statement: Mapping[str, Any], element: str, matches: Callable[[str], bool]) -> bool:
    negated = f"Not{element}" in statement
    patterns = listed(statement[f"Not{element}"] if negated else statement.get(element))
    return negated != any(matches(str(pattern)) for pattern in patterns)


def _names(statement: Mapping[str, Any], caller: Principal | str | None) -> Verdict:
    """How a statement names a caller: itself (ALLOW), through its account (DELEGATED), or not at all (NONE)."""
    kind = "Service" if isinstance(caller, str) else "AWS"
    own, account = _names_of(caller)
    if "NotPrincipal" in statement:
        named = _named(statement["NotPrincipal"], kind)
        return Verdict.NONE if named & (own or account) else Verdict.ALLOW
    principals = statement.get("Principal")
    if "*" in _named(principals, "AWS") or own & _named(principals, kind):
        return Verdict.ALLOW
    return Verdict.DELEGATED if account & _named(principals, kind) else Verdict.NONE


def _names_of(caller: Principal | str | None) -> tuple[set[str], set[str]]:
    """Return (the principals that name the caller alone, those that name its account). The owner is the account."""
    if caller is None or isinstance(caller, str):
        return ({caller} if caller else set()), set()
    account = {caller.account, f"arn:{caller.arn.split(':')[1]}:iam::{caller.account}:root"}
    return (set() if caller.is_root else {caller.arn, caller.role or caller.arn}), account


def _named(principals: Any, kind: str) -> set[str]:
    return set(map(str, listed(principals.get(kind) if isinstance(principals, dict) else principals)))
