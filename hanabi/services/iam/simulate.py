"""Operations that simulate requests, and that list the condition keys of policies."""

import asyncio
import time
from collections.abc import Sequence
from itertools import product
from typing import Any

from hanabi.base.patterns import matches
from hanabi.contracts.credentials import Principal
from hanabi.edge.auth.conditions import ConditionKeys
from hanabi.edge.auth.keys import session_principal, user_principal
from hanabi.edge.auth.managed_policies import MANAGED
from hanabi.edge.auth.policy_documents import MalformedPolicyDocument, check_document, statements
from hanabi.edge.service import Call
from hanabi.quotas import IAM_PAGE_ITEMS
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entities, Entity, EntityTarget
from hanabi.services.iam.errors import InvalidInput, NoSuchEntity
from hanabi.services.iam.pages import page
from hanabi.services.iam.simulation import Simulation, SourcePolicy, context_keys

_REQUESTS = 10_000  # actions times resources of one call
_PAGE_CHARS = 4 << 20  # of policies, evaluated for one page: a page may have less than MaxItems, as on AWS


class SimulationOperations:
    """The operations."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._kinds: dict[str, Entities] = {each.entity_kind.name: each for each in (directory.roles, directory.users, directory.groups)}

    async def simulate_principal_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        entity = self._find(target)
        excluded = params.get("PolicyExclusionList", [])
        policies = [policy for policy in self._policies_of(entity) if not any(_is_excluded(policy, each) for each in excluded)]
        boundary = None
        if arn := entity.get("Boundary", ""):
            boundary = [found] if (found := self._managed(arn)) is not None else []
        return await self._simulate(params, [*policies, *_given(params, "PolicyInputList")], boundary, target.arn)

    async def simulate_custom_policy(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        return await self._simulate(params, _given(params, "PolicyInputList"), None, "")

    async def get_context_keys_for_principal_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        return _keys_of([*self._policies_of(self._find(target)), *_given(params, "PolicyInputList")])

    async def get_context_keys_for_custom_policy(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        return _keys_of(_given(params, "PolicyInputList"))

    async def _simulate(
        self, params: dict[str, Any], policies: Sequence[SourcePolicy], boundary: Sequence[SourcePolicy] | None, principal: str
    ) -> dict[str, Any]:
        given = _given(params, "PermissionsBoundaryPolicyInputList")
        resources = params.get("ResourceArns") or ["*"]
        if len(params["ActionNames"]) * len(resources) > _REQUESTS:
            raise InvalidInput(f"No more than {_REQUESTS} requests can be simulated in one call.")
        for action in params["ActionNames"]:
            if action.count(":") != 1:
                raise InvalidInput(f"ActionName {action} is not valid.")
        resource_policy = _given_one(params, "ResourcePolicy")
        caller = self._caller(params.get("CallerArn") or principal)
        owner = params.get("ResourceOwner", "")
        across = resource_policy is not None and bool(owner) and caller is not None and caller.account not in owner
        simulation = Simulation(policies, given or boundary, resource_policy, caller, _condition_keys(params, caller), across)
        requests = [f"{number:06}" for number in range(len(params["ActionNames"]) * len(resources))]
        chars = sum(len(policy.text) for policy in (*policies, *(given or boundary or ()), *([resource_policy] if resource_policy else [])))
        most = max(1, _PAGE_CHARS // (chars + 1))
        found, more = page(requests, {**params, "MaxItems": min(params.get("MaxItems", IAM_PAGE_ITEMS), most)})
        asked = list(product(params["ActionNames"], resources))

        def run() -> list[dict[str, Any]]:
            results = []
            for number in found:
                results.append(simulation.run(*asked[int(number)]))
                time.sleep(0)  # others may go on
            return results

        return {"EvaluationResults": await asyncio.to_thread(run), **more}

    def _find(self, target: EntityTarget) -> Entity:
        """Return the entity that is simulated: it must have exactly the ARN that was named."""
        entity = self._kinds[target.kind.name].get(target.name)
        if entity is None or entity["Arn"] != target.arn:
            raise NoSuchEntity(f"The {target.kind.label} with name {target.name} cannot be found.")
        return entity

    def _policies_of(self, entity: Entity) -> list[SourcePolicy]:
        policies: list[SourcePolicy] = []
        for holder in (entity, *self._directory.groups_of(entity)):
            kind = next(each for each in ("role", "user", "group") if f"{each.title()}Name" in holder)
            policies += [found for arn in holder["Attached"] if (found := self._managed(arn)) is not None]
            owner = holder[f"{kind.title()}Name"]
            for name, text in holder["Policies"].items():
                policies.append(SourcePolicy(f"{kind}_{owner}_{name}", text, "inline", f"{kind}/{owner}/{name}"))
        return policies

    def _managed(self, arn: str) -> SourcePolicy | None:
        name = arn.rpartition("/")[2]
        if arn in MANAGED:
            return SourcePolicy(name, MANAGED[arn].text, "aws-managed", arn)
        policy = self._directory.policies.with_arn(arn)
        if policy is None:
            return None
        return SourcePolicy(name, policy["Versions"][policy["DefaultVersionId"]]["Document"], "user-managed", arn)

    def _caller(self, arn: str) -> Principal | None:
        if ":user/" in arn:
            return user_principal(arn, "")
        if ":role/" in arn:
            return session_principal(arn, "simulation")
        return None


def _is_excluded(policy: SourcePolicy, identifier: dict[str, Any]) -> bool:
    """Whether one of a `PolicyExclusionList` is about a policy: by its type, its ARN (with wildcards), or as an inline policy."""
    if (inline := identifier.get("InlinePolicyIdentifier")) is not None:
        pattern = f"{inline['AttachmentType']}/{inline['AttachmentName']}/{inline['PolicyName']}"
        return policy.kind == "inline" and pattern == policy.name
    if "PolicyArn" in identifier:
        return policy.kind.endswith("managed") and matches(identifier["PolicyArn"], policy.name)
    return bool(policy.kind) and policy.kind == identifier.get("PolicyType")


def _given(params: dict[str, Any], member: str) -> list[SourcePolicy]:
    return [_checked(f"{member}.{number}", text) for number, text in enumerate(params.get(member, []), 1)]


def _given_one(params: dict[str, Any], member: str) -> SourcePolicy | None:
    return SourcePolicy(member, params[member]) if params.get(member) and _checked(member, params[member], resource=True) else None


def _checked(source: str, text: str, *, resource: bool = False) -> SourcePolicy:
    try:
        check_document(text, trust=False, resource=resource)
    except MalformedPolicyDocument as error:
        raise InvalidInput(error.message) from None
    return SourcePolicy(source, text)


def _condition_keys(params: dict[str, Any], caller: Principal | None) -> ConditionKeys:
    keys: dict[str, tuple[str, ...]] = {}
    if caller is not None:
        keys |= {"aws:principalarn": (caller.role or caller.arn,), "aws:principalaccount": (caller.account,)}
        if caller.user:
            keys["aws:username"] = (caller.arn.rpartition("/")[2],)
    for entry in params.get("ContextEntries", []):
        if entry.get("ContextKeyName"):
            keys[entry["ContextKeyName"].lower()] = tuple(entry.get("ContextKeyValues", []))
    return keys


def _keys_of(policies: Sequence[SourcePolicy]) -> dict[str, Any]:
    found = [statement for policy in policies for statement in statements(policy.document)]
    return {"ContextKeyNames": context_keys(found)}
