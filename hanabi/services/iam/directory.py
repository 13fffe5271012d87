"""All entities of an account together: what policies there are, who has them, and what they come to for a caller."""

import functools
import re
from collections import defaultdict
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.credentials import Principal
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.evaluate import IamIdentity
from hanabi.edge.auth.managed_policies import MANAGED, PREFIX
from hanabi.edge.auth.policy_documents import read_document
from hanabi.errors import ValidationError
from hanabi.services.iam.entities import GROUP, POLICY, PROFILE, ROLE, USER, Entities, Entity
from hanabi.services.iam.errors import NoSuchEntity

_EVERYTHING: dict[str, Any] = {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
_SPACE = re.compile(r"\s+")


class Directory:
    """The entities of an account. Its parts are registries, loaded by `open`."""

    def __init__(self, store: Store, clock: Clock, account_region: AccountRegion, health: Health | None = None) -> None:
        make = functools.partial(Entities, store, account_region=account_region, clock=clock, health=health)
        self.roles, self.users, self.groups = make(kind=ROLE), make(kind=USER), make(kind=GROUP)
        self.policies, self.profiles = make(kind=POLICY), make(kind=PROFILE)
        self.account = account_region.account
        self.partition = account_region.partition
        self.root = f"arn:{account_region.partition}:iam::{account_region.account}:root"
        self._uses: dict[str, dict[str, Entity]] = defaultdict(dict)  # policy -> ARN of who has it attached -> who
        self._bounds: dict[str, dict[str, Entity]] = defaultdict(dict)  # the same of permissions boundaries
        for entities in (self.roles, self.users, self.groups):
            entities.listen(self._count)

    async def open(self) -> None:
        for entities in self._all:
            await entities.open()

    async def close(self) -> None:
        for entities in self._all:
            await entities.close()

    @property
    def _all(self) -> tuple[Entities, ...]:
        return self.policies, self.groups, self.users, self.roles, self.profiles

    # --- policies -----------------------------------------------------------------------------------------------------

    def document(self, arn: str) -> dict[str, Any] | None:
        """Return the default version of a managed policy; None for one that does not exist, or is AWS's and not served."""
        if arn in MANAGED:
            return MANAGED[arn].document
        policy = self.policies.with_arn(arn)
        return None if policy is None else read_document(policy["Versions"][policy["DefaultVersionId"]]["Document"])

    def check_attachable(self, arn: str, *, boundary: bool = False) -> None:
        """Raise for a policy that cannot be attached. Of AWS's any may be: those of services that are not here grant nothing here.

        A permissions boundary caps, so it must be known.
        """
        check_policy_arn(arn)
        if self.document(arn) is None and (boundary or not is_of_aws(arn)):
            scope = "Scope ARN:" if boundary else "Policy"
            raise NoSuchEntity(f"{scope} {arn} does not exist or is not attachable.")

    def uses(self, arn: str, *, boundary: bool = False) -> list[Entity]:
        """List who has a policy attached, or as a permissions boundary."""
        return list((self._bounds if boundary else self._uses).get(arn, {}).values())

    def used(self, *, boundary: bool = False) -> set[str]:
        """Return the policies that are attached, or are permissions boundaries."""
        return {arn for arn, users in (self._bounds if boundary else self._uses).items() if users}

    def _count(self, old: Entity | None, new: Entity | None) -> None:
        for entity in (old, new):
            if entity is None:
                continue
            for arn in entity["Attached"]:
                self._uses[arn].pop(entity["Arn"], None) if entity is old else self._uses[arn].update({entity["Arn"]: entity})
            if arn := entity.get("Boundary", ""):
                self._bounds[arn].pop(entity["Arn"], None) if entity is old else self._bounds[arn].update({entity["Arn"]: entity})

    # --- callers ------------------------------------------------------------------------------------------------------

    def find_identity(self, principal: Principal) -> IamIdentity | None:
        """Return what there is of a caller's role or user; None if it does not exist. Raises `DocumentDamaged`."""
        if principal.user == self.root:
            return IamIdentity([_EVERYTHING])
        entity = self.roles.with_arn(principal.role) if principal.role else self.users.with_arn(principal.user)
        if entity is not None and principal.arn == principal.user and entity["UserId"] != principal.user_id:
            return None  # another user by now has the name of the one that a session was opened for
        return None if entity is None else self.identity_of(entity)

    def identity_of(self, entity: Entity) -> IamIdentity:
        """Return what a role, user or group has: policies, boundary and tags."""
        policies = self.policies_of(entity)
        for group in self.groups_of(entity):
            policies += self.policies_of(group)
        boundary = None
        if arn := entity.get("Boundary", ""):
            document = self.document(arn)
            boundary = [] if document is None else [document]
        return IamIdentity(policies, boundary, {tag["Key"]: tag["Value"] for tag in entity.get("Tags", ())})

    def policies_of(self, entity: Entity) -> list[dict[str, Any]]:
        attached = (self.document(arn) for arn in entity["Attached"])
        return [document for document in attached if document is not None] + [read_document(text) for text in entity["Policies"].values()]

    def groups_of(self, user: Entity) -> list[Entity]:
        found = (self.groups.with_id(unique_id) for unique_id in user.get("Groups", ()))
        return sorted((group for group in found if group is not None), key=lambda group: str(group["GroupName"]))

    def members_of(self, group: Entity) -> list[Entity]:
        return [user for user in self.users if group["GroupId"] in user["Groups"]]

    def profiles_of(self, role: str) -> list[Entity]:
        return [profile for profile in self.profiles if role in profile["RoleNames"]]


def count_chars(text: str) -> int:
    """Count the characters of a document as IAM's quotas do: without white space."""
    return len(_SPACE.sub("", text))


def check_policy_arn(arn: str) -> None:
    """Raise `ValidationError` for what is no ARN. As recorded on AWS, with two spaces."""
    if not arn.startswith("arn:") or arn.count(":") < 5:
        raise ValidationError("Invalid ARN:  Could not be parsed!")


def is_of_aws(arn: str) -> bool:
    """Whether a policy is AWS's own, one that is served here or not."""
    return arn.startswith(PREFIX)
