"""The access keys of users: their operations, and the key ring that accepts them."""

import base64
import secrets
from typing import Any

from hanabi.base.clock import Clock
from hanabi.edge.auth.keys import Key, KeyRing, make_id, user_principal
from hanabi.edge.service import Call
from hanabi.errors import ValidationError
from hanabi.quotas import USER_ACCESS_KEYS_MAX
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entity, EntityTarget
from hanabi.services.iam.errors import LimitExceeded, NoSuchEntity
from hanabi.services.iam.pages import page


class AccessKeyOperations:
    """The operations. Keys that are active sign requests from when they are on disk until they are not active any more."""

    def __init__(self, directory: Directory, clock: Clock, ring: KeyRing | None = None) -> None:
        self._users = directory.users
        self._clock = clock
        self._ring = ring
        if ring is not None:
            self._users.listen(self._changed)

    async def create_access_key(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        self._refuse_owner(target)
        key = {
            "AccessKeyId": make_id("AKIA"),
            "Status": "Active",
            "SecretAccessKey": base64.b64encode(secrets.token_bytes(30)).decode(),
            "CreateDate": int(self._clock.time()),
        }

        def change(user: Entity) -> None:
            if len(user["AccessKeys"]) >= USER_ACCESS_KEYS_MAX:
                raise LimitExceeded(f"Cannot exceed quota for AccessKeysPerUser: {USER_ACCESS_KEYS_MAX}")
            user["AccessKeys"].append(key)

        await self._users.change(target, change)
        return {"AccessKey": {"UserName": target.name, **key}}

    async def list_access_keys(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if not target.name:
            root = [] if self._ring is None else [{"AccessKeyId": self._ring.root.access_key, "Status": "Active"}]
            return {"AccessKeyMetadata": root, "IsTruncated": False}
        keys = [
            {"UserName": target.name, **{name: value for name, value in key.items() if name != "SecretAccessKey"}}
            for key in self._users.find(target)["AccessKeys"]
        ]
        found, more = page(sorted(keys, key=lambda key: str(key["AccessKeyId"])), params, lambda key: str(key["AccessKeyId"]))
        return {"AccessKeyMetadata": found, **more}

    async def update_access_key(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        self._refuse_owner(target)
        await self._users.change(target, lambda user: _find_key(user, params).update(Status=params["Status"]))
        return {}

    async def delete_access_key(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        self._refuse_owner(target)
        await self._users.change(target, lambda user: user["AccessKeys"].remove(_find_key(user, params)))
        return {}

    async def get_access_key_last_used(self, call: Call, params: dict[str, Any], target: EntityTarget) -> dict[str, Any]:
        if not target.name:
            raise _no_key(params)
        used = None if self._ring is None else self._ring.last_used(params["AccessKeyId"])
        never = {"ServiceName": "N/A", "Region": "N/A"}
        return {"UserName": target.name, "AccessKeyLastUsed": never if used is None else used}

    def _refuse_owner(self, target: EntityTarget) -> None:
        if not target.name:
            raise ValidationError("The owner's keys are in keys.json, not in IAM. Please name a user.")

    def _changed(self, old: Entity | None, new: Entity | None) -> None:
        """Let the ring accept a user's active keys, and no others of its."""
        assert self._ring is not None
        active = {key["AccessKeyId"]: key for key in new["AccessKeys"] if key["Status"] == "Active"} if new else {}
        for key in old["AccessKeys"] if old else ():
            if key["AccessKeyId"] not in active:
                self._ring.revoke(key["AccessKeyId"])
        for access_key, key in active.items():
            assert new is not None
            self._ring.put(Key(access_key, key["SecretAccessKey"], "", user_principal(new["Arn"], new["UserId"])))


def _find_key(user: Entity, params: dict[str, Any]) -> dict[str, Any]:
    for key in user["AccessKeys"]:
        if key["AccessKeyId"] == params["AccessKeyId"]:
            found: dict[str, Any] = key
            return found
    raise _no_key(params)


def _no_key(params: dict[str, Any]) -> NoSuchEntity:
    return NoSuchEntity(f"The Access Key with id {params['AccessKeyId']} cannot be found.")
