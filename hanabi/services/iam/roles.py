"""The roles of an account: one document each, policies and tags included."""

from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Store
from hanabi.control.registry import Kind, Registry
from hanabi.errors import DocumentDamaged

Role = dict[str, Any]  # as CreateRole answers it, with `Attached`, `Policies` and `Tags`; immutable by convention
KIND: Kind[Role] = Kind("role", "iam/role/", lambda name, document, parts: document, lambda role: role)


class Roles(Registry[Role]):
    """The roles by name. `prefix` begins the ARNs of roles: "arn:aws:iam::000000000000:role"."""

    def __init__(self, store: Store, prefix: str, clock: Clock, health: Health | None = None) -> None:
        super().__init__(store, KIND, clock, health)
        self.prefix = prefix

    def with_arn(self, arn: str) -> Role | None:
        """Return the role with exactly this ARN. Raises `DocumentDamaged`."""
        if not arn.startswith(f"{self.prefix}/"):
            return None
        role = self.get(arn.rpartition("/")[2])
        return role if role is not None and role["Arn"] == arn else None

    def if_readable(self, name: str) -> Role | None:
        """As `get`, but None for a damaged role: the operation on it raises the error."""
        try:
            return self.get(name)
        except DocumentDamaged:
            return None

    def is_taken(self, name: str) -> bool:
        """Whether a name is taken, ignoring case."""
        return name.lower() in {known.lower() for known in self.names()}
