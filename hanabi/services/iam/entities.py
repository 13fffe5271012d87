"""The entities of an account: roles, users, groups, customer managed policies, instance profiles. One document each.

An entity is what its Create operation answers, with what is attached, inline policies and tags beside it; immutable by convention.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Store, Write
from hanabi.control.arns import AccountRegion
from hanabi.control.registry import Kind, Registry
from hanabi.edge.auth.keys import make_id
from hanabi.edge.auth.policy_documents import statements
from hanabi.errors import DocumentDamaged, RevisionMismatch
from hanabi.services.iam.errors import ConcurrentModification, EntityAlreadyExists, NoSuchEntity
from hanabi.services.iam.pages import page

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class EntityKind:
    """A kind of entity, with its words."""

    name: str  # in ARNs and keys of documents
    label: str  # in texts
    member: str  # of parameters and entities: its name
    id_member: str
    id_prefix: str
    lists: tuple[str, ...] = ()  # members of an entity beside those that are answered
    maps: tuple[str, ...] = ()


ROLE = EntityKind("role", "role", "RoleName", "RoleId", "AROA", ("Attached", "Tags"), ("Policies",))
USER = EntityKind("user", "user", "UserName", "UserId", "AIDA", ("Attached", "Tags", "Groups", "AccessKeys"), ("Policies",))
GROUP = EntityKind("group", "group", "GroupName", "GroupId", "AGPA", ("Attached",), ("Policies",))
POLICY = EntityKind("policy", "policy", "PolicyName", "PolicyId", "ANPA", ("Tags",), ("Versions",))
PROFILE = EntityKind("instance-profile", "Instance Profile", "InstanceProfileName", "InstanceProfileId", "AIPA", ("Tags", "RoleNames"))


@dataclass(frozen=True, slots=True)
class EntityTarget:
    """An entity by its name, with its actual or future ARN, its tags and its boundary; and another one that is named with it."""

    kind: EntityKind
    name: str
    arn: str
    tags: tuple[tuple[str, str], ...] = ()
    boundary: str = ""
    other: "EntityTarget | None" = None


class Entities(Registry[Entity]):
    """The entities of one kind, by name."""

    def __init__(self, store: Store, kind: EntityKind, account_region: AccountRegion, clock: Clock, health: Health | None = None) -> None:
        stored: Kind[Entity] = Kind(
            kind.name, f"iam/{kind.name}/", lambda name, document, parts: _decode(kind, name, document), lambda entity: entity
        )
        super().__init__(store, stored, clock, health)
        self.entity_kind = kind
        self.prefix = f"arn:{account_region.partition}:iam::{account_region.account}:{kind.name}"
        self._lower: dict[str, str] = {}  # name in lower case -> name
        self._by_id: dict[str, str] = {}
        self.listen(self._index)

    # --- reading ------------------------------------------------------------------------------------------------------

    def with_arn(self, arn: str) -> Entity | None:
        """Return the entity with exactly this ARN. Raises `DocumentDamaged`."""
        if not arn.startswith(f"{self.prefix}/"):
            return None
        entity = self.get(arn.rpartition("/")[2])
        return entity if entity is not None and entity["Arn"] == arn else None

    def with_id(self, unique_id: str) -> Entity | None:
        name = self._by_id.get(unique_id)
        return None if name is None else self.get(name)

    def if_readable(self, name: str) -> Entity | None:
        """As `get`, but None for a damaged entity: the operation on it raises the error."""
        try:
            return self.get(name)
        except DocumentDamaged:
            return None

    def is_taken(self, name: str) -> bool:
        """Whether a name is taken, ignoring case."""
        return name.lower() in self._lower or name.lower() in {known.lower() for known in self.damaged}

    def target(self, name: str) -> EntityTarget:
        """Return the target of an operation on this name, whether there is such an entity or not."""
        entity = self.if_readable(name)
        if entity is None:
            return EntityTarget(self.entity_kind, name, f"{self.prefix}/{name}")
        tags = tuple((tag["Key"], tag["Value"]) for tag in entity.get("Tags", ()))
        return EntityTarget(self.entity_kind, name, entity["Arn"], tags, entity.get("Boundary", ""))

    def find(self, target: EntityTarget) -> Entity:
        """Return the entity of a target. Raises `NoSuchEntity`."""
        return self.check_same(self.get(target.name), target)

    def check_same(self, entity: Entity | None, target: EntityTarget) -> Entity:
        """Return the authorised entity if it still exists, and not another one with its name."""
        if entity is None or entity["Arn"] != target.arn:
            raise NoSuchEntity(self._not_found(target))
        return entity

    def _not_found(self, target: EntityTarget) -> str:
        if self.entity_kind is POLICY:
            return f"Policy {target.arn} was not found."
        if self.entity_kind is PROFILE:
            return f"Instance Profile {target.name} cannot be found."
        return f"The {self.entity_kind.label} with name {target.name} cannot be found."

    # --- changing -----------------------------------------------------------------------------------------------------

    def page(self, params: dict[str, Any]) -> tuple[list[Entity], dict[str, Any]]:
        """Take a page, as `pages.page`, of those below `PathPrefix`."""
        prefix = params.get("PathPrefix", "/")
        return page([each for each in self if each["Path"].startswith(prefix)], params, lambda each: str(each[self.entity_kind.member]))

    def make(self, target: EntityTarget, path: str, created: float, **members: Any) -> Entity:
        """Make a new entity, not yet one of the account's."""
        kind = self.entity_kind
        identifiers = {"Path": path, kind.member: target.name, kind.id_member: make_id(kind.id_prefix, 17), "Arn": target.arn}
        empty: Entity = {name: [] for name in kind.lists} | {name: {} for name in kind.maps}
        return identifiers | {"CreateDate": int(created)} | empty | {name: value for name, value in members.items() if value is not None}

    async def create(self, entity: Entity) -> None:
        """Add an entity. Raises `EntityAlreadyExists`."""
        name = entity[self.entity_kind.member]

        def add(old: Entity | None) -> Entity:
            self.check_free(name)
            return entity

        self.check_free(name)  # it may be a damaged one's
        await self._commit(name, add)

    async def change(self, target: EntityTarget, change: Callable[[Entity], None]) -> None:
        """Change an entity in place, as `change` does with a copy. What that raises leaves it as it is."""

        def apply(now: Entity | None) -> Entity:
            entity: Entity = json.loads(json.dumps(self.check_same(now, target)))
            change(entity)
            return entity

        await self._commit(target.name, apply)

    async def remove(self, target: EntityTarget, check: Callable[[Entity], None] = lambda entity: None) -> None:
        """Remove an entity, unless `check` raises."""

        def apply(now: Entity | None) -> None:
            check(self.check_same(now, target))

        await self._commit(target.name, apply)

    async def rename(self, target: EntityTarget, name: str, change: Callable[[Entity], None]) -> None:
        """Change an entity, its name too, in one batch."""
        if name == target.name:
            await self.change(target, change)
            return
        async with self._lock:
            try:
                old = self.find(target)
                if name.lower() != target.name.lower():
                    self.check_free(name)
                new: Entity = json.loads(json.dumps(old))
                change(new)
                gone, made = self.kind.prefix + target.name, self.kind.prefix + name
                revision = await self._store.write([Write(gone, None, self.revision(target.name)), Write(made, new, 0)])
                self._put(target.name, None, 0)
                self._put(name, new, revision)
            except RevisionMismatch:
                raise _concurrent(self.entity_kind) from None
            finally:
                self._catch_up()

    def check_free(self, name: str) -> None:
        """Raise `EntityAlreadyExists` for a name that is taken."""
        if self.is_taken(name):
            kind = self.entity_kind
            if kind is POLICY:
                raise EntityAlreadyExists(f"A policy called {name} already exists. Duplicate names are not allowed.")
            raise EntityAlreadyExists(
                f"{kind.label} {name} already exists." if kind is PROFILE else f"{kind.label.title()} with name {name} already exists."
            )

    async def _commit(self, name: str, change: Callable[[Entity | None], Entity | None]) -> None:
        try:
            await self.commit(name, change)
        except RevisionMismatch:
            raise _concurrent(self.entity_kind) from None

    def _index(self, old: Entity | None, new: Entity | None) -> None:
        kind = self.entity_kind
        if old is not None and self._lower.get(old[kind.member].lower()) == old[kind.member]:
            del self._lower[old[kind.member].lower()]
        if old is not None and self._by_id.get(old[kind.id_member]) == old[kind.member]:
            del self._by_id[old[kind.id_member]]
        if new is not None:
            self._lower[new[kind.member].lower()] = new[kind.member]
            self._by_id[new[kind.id_member]] = new[kind.member]


def _concurrent(kind: EntityKind) -> ConcurrentModification:
    return ConcurrentModification(f"The {kind.label} is being changed by too many at once. Please try again.")


def _decode(kind: EntityKind, name: str, document: Any) -> Entity:
    """Return a document as an entity. Raises `ValueError` for one that is none."""
    if not isinstance(document, dict) or document.get(kind.member) != name:
        raise ValueError(f"it is not that of the {kind.label} {name}")
    for member in ("Arn", "Path", kind.id_member):
        if not isinstance(document.get(member), str):
            raise ValueError(f"{member} is no text")
    if not document["Arn"].endswith(f"/{name}") or type(document.get("CreateDate")) not in (int, float):
        raise ValueError("its ARN or date is not of IAM's form")
    entity: Entity = {member: [] for member in kind.lists} | {member: {} for member in kind.maps} | document
    for members, form in ((kind.lists, list), (kind.maps, dict)):
        for member in members:
            if not isinstance(entity[member], form):
                raise ValueError(f"{member} is no {form.__name__}")
    for member in {"Attached", "Groups", "RoleNames"} & set(kind.lists):
        if not all(isinstance(each, str) for each in entity[member]):
            raise ValueError(f"{member} are not texts")
    if not isinstance(entity.get("Boundary", ""), str):
        raise ValueError("Boundary is no text")
    for tag in entity.get("Tags", ()):
        _check_texts(tag, "Key", "Value")
    for key in entity.get("AccessKeys", ()):
        _check_texts(key, "AccessKeyId", "SecretAccessKey", "Status")
    for text in entity.get("Policies", {}).values():
        _check_policy(text)
    if kind is POLICY:
        versions = entity["Versions"]
        if entity.get("DefaultVersionId") not in versions or type(entity.get("LastVersion")) is not int:
            raise ValueError("it has no default version")
        for name_of_version, version in versions.items():
            if not name_of_version[1:].isdecimal() or type(version.get("CreateDate")) not in (int, float):
                raise ValueError(f"{name_of_version} is no version")
            _check_policy(version["Document"])
    return entity


def _check_texts(value: Any, *members: str) -> None:
    if not all(isinstance(value[member], str) for member in members):
        raise ValueError(f"there is something without {' or '.join(members)}")


def _check_policy(text: str) -> None:
    """Raise for a text that is no policy at all. Older ones may be less strict than new ones."""
    found = statements(json.loads(text))
    if not found or not all(statement["Effect"] in ("Allow", "Deny") for statement in found):
        raise ValueError("it has a policy that neither allows nor denies")
