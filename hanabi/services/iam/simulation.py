"""The simulation of requests: what policies would say, which statements say so, and which condition keys are missing. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hanabi.contracts.credentials import Principal
from hanabi.edge.auth.conditions import ConditionKeys
from hanabi.edge.auth.evaluate import AccessRequest, Verdict, Verdicts, evaluate_identity_policies, evaluate_resource_policy
from hanabi.edge.auth.policy_documents import listed, statements

_SPACE = re.compile(r"[ \t\r\n]*")
_VARIABLE = re.compile(r"\$\{([^{},*?$]{1,256})[^{}]{0,256}\}")


@dataclass(frozen=True)
class SourcePolicy:
    """A policy as text, with the name by which answers tell of it."""

    source: str
    text: str
    kind: str = ""  # "inline", "aws-managed" or "user-managed"; empty: it was passed to the simulation
    name: str = ""  # its ARN; of an inline one "role/<name of the role>/<name of the policy>"

    @cached_property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.text)
        return document

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        return find_statements(self.text)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What requests are simulated with."""

    policies: Sequence[SourcePolicy]
    boundary: Sequence[SourcePolicy] | None
    resource_policy: SourcePolicy | None
    caller: Principal | None
    condition_keys: ConditionKeys
    across: bool = False  # the resource is another account's

    def run(self, action: str, resource: str) -> dict[str, Any]:
        """Return the `EvaluationResult` of an action on a resource."""
        request = AccessRequest(action, (resource,), self.condition_keys)
        identity, matched = _evaluate(self.policies, request)
        by_resource = Verdict.NONE
        if self.resource_policy is not None:
            found = statements(self.resource_policy.document)
            by_resource = evaluate_resource_policy(found, self.caller, request)
            for statement, span in zip(found, self.resource_policy.spans, strict=True):
                if evaluate_resource_policy([statement], self.caller, request) is not Verdict.NONE:
                    matched.append(_describe(self.resource_policy, span))
        boundary: Verdict | None = None
        if self.boundary is not None:
            boundary, of_boundary = _evaluate(self.boundary, request)
            matched += of_boundary if boundary is Verdict.DENY else []
        verdicts = Verdicts(identity, by_resource, boundary)
        allowed = verdicts.refusal(action, across=self.across) is None
        denied = Verdict.DENY in (identity, by_resource, boundary)
        decision = "allowed" if allowed else "explicitDeny" if denied else "implicitDeny"
        missing = self._missing(action, resource)
        result: dict[str, Any] = {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision}
        result |= {"MatchedStatements": matched, "MissingContextValues": missing, "EvalDecisionDetails": {}}
        specific: dict[str, Any] = {"EvalResourceName": resource, "EvalResourceDecision": decision}
        specific |= {"MatchedStatements": matched, "MissingContextValues": missing}
        if boundary is not None:
            detail = {"AllowedByPermissionsBoundary": boundary is Verdict.ALLOW}
            result["PermissionsBoundaryDecisionDetail"] = specific["PermissionsBoundaryDecisionDetail"] = detail
        return result if resource == "*" else result | {"ResourceSpecificResults": [specific]}

    def _missing(self, action: str, resource: str) -> list[str]:
        """The keys that conditions of statements about this action and resource ask for, and that were not given."""
        request = AccessRequest(action, (resource,), self.condition_keys)
        missing: dict[str, None] = {}
        for policy in (*self.policies, *(self.boundary or ())):
            document = policy.document
            for statement in statements(document):
                bare = {name: value for name, value in statement.items() if name != "Condition"} | {"Effect": "Allow"}
                if evaluate_identity_policies([document | {"Statement": [bare]}], request) is Verdict.ALLOW:
                    missing |= dict.fromkeys(key for key in context_keys([statement]) if key.lower() not in self.condition_keys)
        return list(missing)


def context_keys(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """List the condition keys that statements name, in conditions and as variables."""
    keys: dict[str, None] = {}
    for statement in found:
        for of_operator in (statement.get("Condition") or {}).values():
            keys |= dict.fromkeys(of_operator)
            for values in of_operator.values():
                keys |= dict.fromkeys(_variables(values))
        keys |= dict.fromkeys(_variables([*listed(statement.get("Resource")), *listed(statement.get("NotResource"))]))
    return list(keys)


def find_statements(text: str) -> list[tuple[int, int]]:
    """Find where a document's statements are in its text: (begin, end) of each. Of several members of that name the last counts."""
    decoder = json.JSONDecoder()
    places = [(begin, end) for name, begin, end in _members(decoder, text, _skip(text, 0)) if name == "Statement"][-1:]
    if not places or text[places[0][0]] != "[":
        return places
    spans, at = [], _skip(text, places[0][0] + 1)
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        spans.append((at, end))
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return spans


def _evaluate(policies: Sequence[SourcePolicy], request: AccessRequest) -> tuple[Verdict, list[dict[str, Any]]]:
    """Return the verdict of policies, and the statements that it comes from."""
    matched: dict[Verdict, list[dict[str, Any]]] = {Verdict.ALLOW: [], Verdict.DENY: []}
    for policy in policies:
        document = policy.document
        for statement, span in zip(statements(document), policy.spans, strict=True):
            verdict = evaluate_identity_policies([document | {"Statement": [statement]}], request)
            if verdict is not Verdict.NONE:
                matched[verdict].append(_describe(policy, span))
    verdict = Verdict.DENY if matched[Verdict.DENY] else Verdict.ALLOW if matched[Verdict.ALLOW] else Verdict.NONE
    return verdict, matched.get(verdict, [])


def _describe(policy: SourcePolicy, span: tuple[int, int]) -> dict[str, Any]:
    """Describe a matched statement, in positions as AWS counts them: behind the bracket, from 1."""
    begin, end = (_position(policy.text, at) for at in (span[0] + 1, span[1]))
    return {"SourcePolicyId": policy.source, "SourcePolicyType": "IAM Policy", "StartPosition": begin, "EndPosition": end}


def _position(text: str, at: int) -> dict[str, int]:
    return {"Line": text.count("\n", 0, at) + 1, "Column": at - text.rfind("\n", 0, at)}


def _members(decoder: json.JSONDecoder, text: str, at: int) -> Iterator[tuple[str, int, int]]:
    at = _skip(text, at + 1)
    while text[at] == '"':
        name, at = decoder.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)
        _, end = decoder.raw_decode(text, begin)
        yield name, begin, end
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _variables(values: Any) -> Iterator[str]:
    for value in listed(values):
        if isinstance(value, str):
            yield from (match[1].strip() for match in _VARIABLE.finditer(value))
