"""AWS IAM: roles, users, groups, policies, keys and what tools touch around them. It is of an account, in all regions."""

from collections.abc import Callable, Mapping
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.credentials import Principal
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.evaluate import IamIdentity
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.protocols.wording import Wording
from hanabi.edge.service import Service
from hanabi.services.iam.access_keys import AccessKeyOperations
from hanabi.services.iam.account import AccountOperations
from hanabi.services.iam.directory import Directory
from hanabi.services.iam.entities import Entity
from hanabi.services.iam.instance_profiles import InstanceProfileOperations
from hanabi.services.iam.operations import operations
from hanabi.services.iam.policies import ManagedPolicyOperations
from hanabi.services.iam.principal_policies import PrincipalPolicyOperations
from hanabi.services.iam.roles import RoleOperations
from hanabi.services.iam.service_linked_roles import ServiceLinkedRoleOperations
from hanabi.services.iam.simulate import SimulationOperations
from hanabi.services.iam.targets import EntityTargets
from hanabi.services.iam.users import UserOperations

Changed = Callable[[str, Entity | None], None]  # a role's ARN, and what it is now


class IamService(Service):
    """The `iam` service. `changed` is called with each role that is created, changed or deleted. `keys` accepts users' keys."""

    name = "iam"
    wording = Wording(hides_values=True)  # since 2024: "Value at 'roleName' failed to satisfy constraint"

    def __init__(
        self,
        store: Store,
        clock: Clock,
        account_region: AccountRegion,
        changed: Changed | None = None,
        health: Health | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        self.directory = directory = Directory(store, clock, account_region, health)
        self.roles, self.users = RoleOperations(directory, clock), UserOperations(directory, clock)
        policies, profiles = ManagedPolicyOperations(directory, clock), InstanceProfileOperations(directory, clock)
        self._account = AccountOperations(directory, policies, profiles, store, clock, health)
        self.operations = operations(
            EntityTargets(directory.roles, directory.users, directory.groups, directory.policies, directory.profiles, directory.root),
            AccessKeyOperations(directory, clock, keys),
            self._account,
            ServiceLinkedRoleOperations(directory, clock),
            policies,
            PrincipalPolicyOperations(directory),
            profiles,
            self.roles,
            SimulationOperations(directory),
            self.users,
        )
        if changed is not None:
            directory.roles.listen(lambda old, new: changed((new or old or {})["Arn"], new))

    async def open(self) -> None:
        """Load what there is."""
        await self.directory.open()
        await self._account.open()

    async def close(self) -> None:
        await self._account.close()
        await self.directory.close()

    async def find_role(self, arn: str) -> Mapping[str, Any] | None:
        """Return the role with exactly this ARN."""
        return self.directory.roles.with_arn(arn)

    def find_document(self, account: str, arn: str) -> Mapping[str, Any] | None:
        """Return the document of a managed policy, of AWS's or of this account."""
        return self.directory.document(arn)

    def find_identity(self, principal: Principal) -> IamIdentity | None:
        """Return what there is of a caller's role or user; None if it does not exist."""
        return self.directory.find_identity(principal)
