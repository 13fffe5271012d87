"""Operations on users and groups."""

from typing import Any

from hanabi.base.clock import Clock
from hanabi.edge.service import Call
from hanabi.quotas import USER_GROUPS_MAX
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import DeleteConflict, LimitExceeded, NoSuchEntity
from hanabi.services.iam.pages import check_tags, page
from hanabi.services.iam.roles import check_empty, describe_extras

_USER = ("Path", "UserName", "UserId", "Arn", "CreateDate")
_GROUP = ("Path", "GroupName", "GroupId", "Arn", "CreateDate")


class UserOperations:
    """The operations. A user's document has its keys and the ids of its groups."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._users = directory.users
        self._groups = directory.groups
        self._clock = clock
        self._began = clock.time()

    # --- users --------------------------------------------------------------------------------------------------------

    async def create_user(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        boundary = params.get("PermissionsBoundary")
        if boundary:
            self._directory.check_attachable(boundary, boundary=True)
        tags = check_tags(params.get("Tags", []))
        user = self._users.make(target, params.get("Path", "/"), self._clock.time(), Tags=tags, Boundary=boundary)
        await self._users.create(user)
        return {"User": describe_user(user, tags=True, boundary=True)}

    async def get_user(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if not target.name:  # the owner, as the root user
            return {"User": {"UserId": self._directory.account, "Arn": target.arn, "CreateDate": int(self._began)}}
        return {"User": describe_user(self._users.find(target), tags=True, boundary=True)}

    async def list_users(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        found, more = self._users.page(params)
        return {"Users": [describe_user(user) for user in found], **more}

    async def update_user(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        new = _renamed(target)
        await self._users.rename(
            target, new.name, lambda user: user.update(UserName=new.name, Arn=new.arn, Path=params.get("NewPath", user["Path"]))
        )
        return {}

    async def delete_user(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.name in self._users.damaged and call.principal.is_root:
            await self._users.quarantine(target.name)
            return {}

        def check(user: Entity) -> None:
            if user["AccessKeys"]:
                raise DeleteConflict("Cannot delete entity, must delete access keys first.")
            check_empty(user)
            if self._directory.groups_of(user):
                raise DeleteConflict("Cannot delete entity, must remove users from group first.")

        await self._users.remove(target, check)
        return {}

    # --- groups -------------------------------------------------------------------------------------------------------

    async def create_group(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        group = self._groups.make(target, params.get("Path", "/"), self._clock.time())
        await self._groups.create(group)
        return {"Group": describe_group(group)}

    async def get_group(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        group = self._groups.find(target)
        found, more = page(self._directory.members_of(group), params, lambda user: str(user["UserName"]))
        return {"Group": describe_group(group), "Users": [describe_user(user) for user in found], **more}

    async def list_groups(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        found, more = self._groups.page(params)
        return {"Groups": [describe_group(group) for group in found], **more}

    async def update_group(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        new = _renamed(target)
        await self._groups.rename(
            target, new.name, lambda group: group.update(GroupName=new.name, Arn=new.arn, Path=params.get("NewPath", group["Path"]))
        )
        return {}

    async def delete_group(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if target.name in self._groups.damaged and call.principal.is_root:
            await self._groups.quarantine(target.name)
            return {}

        def check(group: Entity) -> None:
            if self._directory.members_of(group):
                raise DeleteConflict("Cannot delete entity, must remove users from group first.")
            check_empty(group)

        await self._groups.remove(target, check)
        return {}

    # --- who is in which ----------------------------------------------------------------------------------------------

    async def add_user_to_group(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        unique_id = self._groups.find(target)["GroupId"]

        def change(user: Entity) -> None:
            if unique_id in user["Groups"]:
                return
            if len(self._directory.groups_of(user)) >= USER_GROUPS_MAX:
                raise LimitExceeded(f"Cannot exceed quota for GroupsPerUser: {USER_GROUPS_MAX}")
            user["Groups"] = [group["GroupId"] for group in self._directory.groups_of(user)] + [unique_id]

        await self._users.change(_other(target), change)
        return {}

    async def remove_user_from_group(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        unique_id, member = self._groups.find(target)["GroupId"], _other(target)

        def change(user: Entity) -> None:
            if unique_id not in user["Groups"]:
                raise NoSuchEntity(f"User {member.name} is not in group {target.name}.")
            user["Groups"].remove(unique_id)

        await self._users.change(member, change)
        return {}

    async def list_groups_for_user(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        groups = self._directory.groups_of(self._users.find(target))
        found, more = page(groups, params, lambda group: str(group["GroupName"]))
        return {"Groups": [describe_group(group) for group in found], **more}


def describe_user(user: Entity, *, tags: bool = False, boundary: bool = False) -> dict[str, Any]:
    return {name: user[name] for name in _USER} | describe_extras(user, tags=tags, boundary=boundary)


def describe_group(group: Entity) -> dict[str, Any]:
    return {name: group[name] for name in _GROUP}


def _other(target: EntityTarget) -> EntityTarget:
    assert target.other is not None
    return target.other


_renamed = _other
