"""Whether policies allow a request: an explicit Deny of any kind of policy wins, then what allows must be within what caps.

IAM user guide, "Policy evaluation logic". IamIdentity policies and a resource's policy allow; permissions boundaries and session policies
only cap. Within an account one Allow is enough, across accounts both sides must.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
    DIRECT = "direct"  # a resource policy allows it to the very user or session: no implicit deny elsewhere counts
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class IamIdentity:
    """What IAM has of a user or role."""

    policies: Sequence[Mapping[str, Any]]  # its own, and its groups'
    boundary: Sequence[Mapping[str, Any]] | None = None  # its permissions boundary; empty: one that is gone, which allows nothing
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One action on one resource. `resources` are all ARNs by which a policy may name it."""

    action: str
    resources: tuple[str, ...]
    condition_keys: ConditionKeys


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What each kind of policy says of one request. None: there is no such policy."""

    identity: Verdict
    resource: Verdict = Verdict.NONE
    boundary: Verdict | None = None
    session: Verdict | None = None

    def refusal(self, action: str, *, trust: bool = False, across: bool = False) -> str | None:
        """Return why the request is denied, as AWS's message ends; None if it is allowed.

        `trust`: the resource is a role to assume, whose policy must let the caller in. `across`: it is in another account.
        """
        kinds = ("an identity-based policy", "a resource-based policy", "a permissions boundary", "a session policy")
        for verdict, kind in zip((self.identity, self.resource, self.boundary, self.session), kinds, strict=True):
            if verdict is Verdict.DENY:
                return f" with an explicit deny in {kind}"
        if (trust or across) and self.resource is Verdict.NONE:
            return "" if trust else f" because no resource-based policy allows the {action} action"
        if self.resource is Verdict.DIRECT and not across:
            return None
        if self.identity is not Verdict.ALLOW and (across or self.resource not in (Verdict.ALLOW, Verdict.DIRECT)):
            return "" if trust else f" because no identity-based policy allows the {action} action"
        for cap, kind in ((self.boundary, "permissions boundary"), (self.session, "session policy")):
            if cap is not None and cap is not Verdict.ALLOW:
                return f" because no {kind} allows the {action} action"
        return None


_RANK = {Verdict.NONE: 0, Verdict.DELEGATED: 1, Verdict.ALLOW: 2, Verdict.DIRECT: 3}


def evaluate_identity_policies(documents: Iterable[Mapping[str, Any]], request: AccessRequest) -> Verdict:
    """Evaluate the caller's own policies, its boundary or its session policies."""
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
        if _RANK[named] > _RANK[verdict]:
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
    """How a statement names a caller: itself (DIRECT), its role or everybody (ALLOW), its account (DELEGATED), or not at all (NONE)."""
    kind = "Service" if isinstance(caller, str) else "AWS"
    itself, source, account = _names_of(caller)
    if "NotPrincipal" in statement:
        named = _named(statement["NotPrincipal"], kind)
        return Verdict.NONE if named & (itself | source | account) else Verdict.ALLOW
    named = _named(statement.get("Principal"), kind)
    if itself & named:
        return Verdict.DIRECT
    if source & named or "*" in _named(statement.get("Principal"), "AWS"):
        return Verdict.ALLOW
    return Verdict.DELEGATED if account & named else Verdict.NONE


def _names_of(caller: Principal | str | None) -> tuple[set[str], set[str], set[str]]:
    """Return the names of (the caller alone, the role or user that it is a session of, its account). The owner is the account."""
    if caller is None or isinstance(caller, str):
        return set(), ({caller} if caller else set()), set()
    account = {caller.account, f"arn:{caller.arn.split(':')[1]}:iam::{caller.account}:root"}
    if caller.is_root:
        return set(), set(), account
    return {caller.arn}, {name for name in (caller.role, caller.user) if name} - account, account


def _named(principals: Any, kind: str) -> set[str]:
    return set(map(str, listed(principals.get(kind) if isinstance(principals, dict) else principals)))
