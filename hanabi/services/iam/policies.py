"""Operations on managed policies: those of the account, and AWS's own."""

from datetime import datetime
from typing import Any

from hanabi.base.clock import Clock
from hanabi.edge.auth.keys import role_id
from hanabi.edge.auth.managed_policies import MANAGED
from hanabi.edge.auth.policy_documents import check_document
from hanabi.edge.service import Call
from hanabi.quotas import MANAGED_POLICY_CHARS, MANAGED_POLICY_VERSIONS_MAX
from hanabi.services.iam.directory import Directory, count_chars
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import DeleteConflict, LimitExceeded, NoSuchEntity
from hanabi.services.iam.pages import check_tags, page
from hanabi.services.iam.principal_policies import path_of
from hanabi.services.iam.roles import quote_document

_MEMBERS = ("PolicyName", "PolicyId", "Arn", "Path", "DefaultVersionId", "CreateDate", "UpdateDate")


class ManagedPolicyOperations:
    """The operations. A policy's document has its versions' texts by id: "v1"."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._policies = directory.policies
        self._clock = clock

    async def create_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        _check(params["PolicyDocument"])
        now = int(self._clock.time())
        policy = self._policies.make(
            target,
            params.get("Path", "/"),
            now,
            UpdateDate=now,
            Description=params.get("Description"),
            Tags=check_tags(params.get("Tags", [])),
            DefaultVersionId="v1",
            LastVersion=1,
            Versions={"v1": {"Document": params["PolicyDocument"], "CreateDate": now}},
        )
        await self._policies.create(policy)
        return {"Policy": self.describe(policy, description=False)}

    async def get_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.arn in MANAGED:
            return {"Policy": self._describe_managed(target.arn) | {"Tags": []}}
        policy = self._policies.find(target)
        return {"Policy": self.describe(policy) | {"Tags": policy["Tags"]}}

    async def list_policies(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        scope, prefix = params.get("Scope", "All"), params.get("PathPrefix", "/")
        listed = [self.describe(policy, description=False) for policy in self._policies] if scope != "AWS" else []
        if scope != "Local":
            listed += [self._describe_managed(arn) for arn in MANAGED]
        usage = params.get("PolicyUsageFilter")
        if params.get("OnlyAttached") or usage == "PermissionsPolicy":
            listed = [policy for policy in listed if policy["AttachmentCount"] or (not usage and policy["PermissionsBoundaryUsageCount"])]
        if usage == "PermissionsBoundary":
            listed = [policy for policy in listed if policy["PermissionsBoundaryUsageCount"]]
        matching = sorted((policy for policy in listed if policy["Path"].startswith(prefix)), key=lambda policy: str(policy["Arn"]))
        found, more = page(matching, params, lambda policy: str(policy["Arn"]))
        return {"Policies": found, **more}

    async def delete_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.name in self._policies.damaged and call.principal.is_root:
            await self._policies.quarantine(target.name)
            return {}

        def check(policy: Entity) -> None:
            if self._directory.uses(policy["Arn"]) or self._directory.uses(policy["Arn"], boundary=True):
                raise DeleteConflict("Cannot delete a policy attached to entities.")
            if len(policy["Versions"]) > 1:
                raise DeleteConflict(
                    "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
                    "The default version is deleted with the policy."
                )

        await self._policies.remove(target, check)
        return {}

    async def list_entities_for_policy(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        self._check_exists(target)
        wanted, prefix, usage = params.get("EntityFilter"), params.get("PathPrefix", "/"), params.get("PolicyUsageFilter")
        users = [] if usage == "PermissionsBoundary" else self._directory.uses(target.arn)
        users += [] if usage == "PermissionsPolicy" else self._directory.uses(target.arn, boundary=True)
        by_arn = {entity["Arn"]: entity for entity in users if entity["Path"].startswith(prefix)}
        found, more = page(sorted(by_arn), params)
        answer: dict[str, Any] = {"PolicyGroups": [], "PolicyUsers": [], "PolicyRoles": []}
        for entity in (by_arn[arn] for arn in found):
            kind = next(each for each in ("Group", "User", "Role") if f"{each}Name" in entity)
            if wanted in (None, kind):
                answer[f"Policy{kind}s"].append({name: entity[name] for name in (f"{kind}Name", f"{kind}Id")})
        return answer | more

    # --- versions -----------------------------------------------------------------------------------------------------

    async def create_policy_version(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        _check(params["PolicyDocument"])
        now = int(self._clock.time())

        def change(policy: Entity) -> None:
            if len(policy["Versions"]) >= MANAGED_POLICY_VERSIONS_MAX:
                raise LimitExceeded(
                    f"A managed policy can have up to {MANAGED_POLICY_VERSIONS_MAX} versions. Before you create a new version, "
                    "you must delete an existing version."
                )
            policy["LastVersion"] += 1
            policy["Versions"][f"v{policy['LastVersion']}"] = {"Document": params["PolicyDocument"], "CreateDate": now}
            policy["UpdateDate"] = now
            if params.get("SetAsDefault"):
                policy["DefaultVersionId"] = f"v{policy['LastVersion']}"

        await self._policies.change(target, change)
        policy = self._policies.find(target)
        return {"PolicyVersion": _describe_version(policy, f"v{policy['LastVersion']}")}

    async def get_policy_version(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        version = params["VersionId"]
        if target.arn in MANAGED:
            managed = MANAGED[target.arn]
            if version != managed.version:
                raise _no_version(target, version)
            shown = {"VersionId": version, "IsDefaultVersion": True, "CreateDate": _date(managed.updated)}
            return {"PolicyVersion": shown | {"Document": quote_document(managed.text)}}
        policy = self._policies.find(target)
        _check_version(policy, target, version)
        document = quote_document(policy["Versions"][version]["Document"])
        return {"PolicyVersion": _describe_version(policy, version) | {"Document": document}}

    async def list_policy_versions(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.arn in MANAGED:
            managed = MANAGED[target.arn]
            version = {"VersionId": managed.version, "IsDefaultVersion": True, "CreateDate": _date(managed.updated)}
            return {"Versions": [version], "IsTruncated": False}
        policy = self._policies.find(target)
        newest_first = sorted((_describe_version(policy, version) for version in policy["Versions"]), key=_age)
        found, more = page(newest_first, params, _age)
        return {"Versions": found, **more}

    async def set_default_policy_version(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        def change(policy: Entity) -> None:
            _check_version(policy, target, params["VersionId"])
            policy |= {"DefaultVersionId": params["VersionId"], "UpdateDate": int(self._clock.time())}

        await self._policies.change(target, change)
        return {}

    async def delete_policy_version(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        def change(policy: Entity) -> None:
            _check_version(policy, target, params["VersionId"])
            if params["VersionId"] == policy["DefaultVersionId"]:
                raise DeleteConflict("Cannot delete the default version of a policy.")
            del policy["Versions"][params["VersionId"]]

        await self._policies.change(target, change)
        return {}

    # --- descriptions -------------------------------------------------------------------------------------------------

    def describe(self, policy: Entity, *, description: bool = True) -> dict[str, Any]:
        shown = {name: policy[name] for name in _MEMBERS} | self._usage(policy["Arn"])
        return shown | {"Description": policy["Description"]} if description and policy.get("Description") else shown

    def describe_managed_of(self, arns: set[str]) -> dict[str, dict[str, Any]]:
        """Describe those of AWS's policies that are served, each with its only version."""
        found: dict[str, dict[str, Any]] = {}
        for arn in arns & MANAGED.keys():
            managed = MANAGED[arn]
            version = {"VersionId": managed.version, "IsDefaultVersion": True, "CreateDate": _date(managed.updated)}
            version["Document"] = quote_document(managed.text)
            found[arn] = self._describe_managed(arn) | {"PolicyVersionList": [version]}
        return found

    def _describe_managed(self, arn: str) -> dict[str, Any]:
        managed = MANAGED[arn]
        return {
            "PolicyName": arn.rpartition("/")[2],
            "PolicyId": role_id(arn).replace("AROA", "ANPA", 1),
            "Arn": arn,
            "Path": path_of(arn),
            "DefaultVersionId": managed.version,
            "CreateDate": _date(managed.created),
            "UpdateDate": _date(managed.updated),
            **self._usage(arn),
        }

    def _usage(self, arn: str) -> dict[str, Any]:
        used, bounds = len(self._directory.uses(arn)), len(self._directory.uses(arn, boundary=True))
        return {"AttachmentCount": used, "PermissionsBoundaryUsageCount": bounds, "IsAttachable": True}

    def _check_exists(self, target: EntityTarget) -> None:
        if target.arn not in MANAGED:
            self._policies.find(target)


def describe_versions(policy: Entity) -> list[dict[str, Any]]:
    """Describe all versions of a policy, with their documents."""
    return [
        _describe_version(policy, version) | {"Document": quote_document(found["Document"])}
        for version, found in policy["Versions"].items()
    ]


def _describe_version(policy: Entity, version: str) -> dict[str, Any]:
    default = version == policy["DefaultVersionId"]
    return {"VersionId": version, "IsDefaultVersion": default, "CreateDate": policy["Versions"][version]["CreateDate"]}


def _age(version: dict[str, Any]) -> str:
    """A text that sorts versions, newest first."""
    return f"{10**9 - int(version['VersionId'][1:]):09}"


def _check(text: str) -> None:
    check_document(text, trust=False, managed=True)
    if count_chars(text) > MANAGED_POLICY_CHARS:
        raise LimitExceeded(f"Cannot exceed quota for PolicySize: {MANAGED_POLICY_CHARS}")


def _check_version(policy: Entity, target: EntityTarget, version: str) -> None:
    if version not in policy["Versions"]:
        raise _no_version(target, version)


def _no_version(target: EntityTarget, version: str) -> NoSuchEntity:
    return NoSuchEntity(f"Policy {target.arn} version {version} does not exist or is not attachable.")


def _date(text: str) -> float:
    return datetime.fromisoformat(f"{text}T00:00:00+00:00").timestamp()
