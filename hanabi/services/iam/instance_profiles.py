"""Operations on instance profiles: a name for a role, as tools make it. Nothing here runs with one."""

from typing import Any

from hanabi.base.clock import Clock
from hanabi.edge.service import Call
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import DeleteConflict, LimitExceeded, NoSuchEntity
from hanabi.services.iam.pages import check_tags, page
from hanabi.services.iam.roles import describe_role

_MEMBERS = ("Path", "InstanceProfileName", "InstanceProfileId", "Arn", "CreateDate")


class InstanceProfileOperations:
    """The operations."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._profiles = directory.profiles
        self._roles = directory.roles
        self._clock = clock

    async def create_instance_profile(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        tags = check_tags(params.get("Tags", []))
        profile = self._profiles.make(target, params.get("Path", "/"), self._clock.time(), Tags=tags)
        await self._profiles.create(profile)
        return {"InstanceProfile": self.describe(profile, tags=True)}

    async def get_instance_profile(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        return {"InstanceProfile": self.describe(self._profiles.find(target), tags=True)}

    async def list_instance_profiles(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        prefix = params.get("PathPrefix", "/")
        return self._list([profile for profile in self._profiles if profile["Path"].startswith(prefix)], params)

    async def list_instance_profiles_for_role(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        self._roles.find(target)
        return self._list(self._directory.profiles_of(target.name), params)

    async def add_role_to_instance_profile(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        role = self._find_role(target)

        def change(profile: Entity) -> None:
            if profile["RoleNames"]:
                raise LimitExceeded("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
            profile["RoleNames"].append(role["RoleName"])

        await self._profiles.change(target, change)
        return {}

    async def remove_role_from_instance_profile(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        assert target.other is not None
        name = target.other.name

        def change(profile: Entity) -> None:
            if name not in profile["RoleNames"]:
                raise NoSuchEntity(f"The role with name {name} cannot be found.")
            profile["RoleNames"].remove(name)

        await self._profiles.change(target, change)
        return {}

    async def delete_instance_profile(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.name in self._profiles.damaged and call.principal.is_root:
            await self._profiles.quarantine(target.name)
            return {}

        def check(profile: Entity) -> None:
            if profile["RoleNames"]:
                raise DeleteConflict("Cannot delete entity, must remove roles from instance profile first.")

        await self._profiles.remove(target, check)
        return {}

    def describe(self, profile: Entity, *, tags: bool = False) -> dict[str, Any]:
        found = (self._roles.if_readable(name) for name in profile["RoleNames"])
        shown = {name: profile[name] for name in _MEMBERS} | {"Roles": [describe_role(role) for role in found if role is not None]}
        return shown | {"Tags": profile["Tags"]} if tags and profile["Tags"] else shown

    def _list(self, profiles: list[Entity], params: dict[str, Any]) -> dict[str, Any]:
        found, more = page(profiles, params, lambda profile: str(profile["InstanceProfileName"]))
        return {"InstanceProfiles": [self.describe(profile) for profile in found], **more}

    def _find_role(self, target: EntityTarget) -> Entity:
        assert target.other is not None
        return self._roles.find(target.other)
