"""IAM of all accounts: what each has is its own, and the same in every region."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from hanabi.base.tasks import SingleFlight
from hanabi.contracts.credentials import Principal
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion, is_account
from hanabi.edge.auth.evaluate import IamIdentity
from hanabi.errors import ShuttingDown
from hanabi.services.iam.service import IamService

ACCOUNTS_MAX = 1_000  # open at a time, besides those that have something
Role = Mapping[str, Any]


class IamAccounts:
    """The IAM services. `make` makes that of an account; `open` opens those of the accounts that have something."""

    def __init__(self, store: Store, make: Callable[[str], IamService]) -> None:
        self._store = store
        self._make = make
        self._services: dict[str, IamService] = {}
        self._on_close: list[Callable[[str], None]] = []
        self._opening: SingleFlight[str, IamService] = SingleFlight(closed=ShuttingDown)

    async def open(self) -> None:
        for account in await self._store.segments(""):
            if is_account(account) and "iam" in await self._store.segments(f"{account}/"):
                await self.of(account)

    async def close(self) -> None:
        await self._opening.close()
        await asyncio.gather(*(service.close() for service in self._services.values()))

    def on_close(self, closed: Callable[[str], None]) -> None:
        """Call back when the empty IAM of an account is to be closed: nobody may use it from then on."""
        self._on_close.append(closed)

    async def at(self, place: AccountRegion) -> IamService:
        return await self.of(place.account)

    async def of(self, account: str) -> IamService:
        """Return the IAM of an account, opened if need be."""
        return self._services.get(account) or await self._opening.run(account, lambda: self._open(account), f"IAM of {account}")

    async def _open(self, account: str) -> IamService:
        if len(self._services) >= ACCOUNTS_MAX:
            await self._make_room()
        service = self._make(account)
        await service.open()
        self._services[account] = service
        return service

    async def _make_room(self) -> None:
        """Close the IAM of an account that has nothing in it; it is opened again when it is asked for."""
        for account in list(self._services):
            if not await self._store.segments(f"{account}/iam/") and (empty := self._services.pop(account, None)) is not None:
                for closed in self._on_close:
                    closed(account)
                await empty.close()
                return

    # --- of any account -----------------------------------------------------------------------------------------------

    async def find_role(self, arn: str) -> Role | None:
        """Return the role with exactly this ARN, of any account."""
        service = self._services.get(_account_of(arn))
        return await service.find_role(arn) if service is not None else None

    def find_document(self, account: str, arn: str) -> Mapping[str, Any] | None:
        """Return the document of a managed policy, of AWS's or of an account."""
        service = self._services.get(account)
        return service.find_document(account, arn) if service is not None else None

    def find_identity(self, principal: Principal) -> IamIdentity | None:
        """Return what there is of a caller of any account; None if it does not exist."""
        service = self._services.get(principal.account)
        return service.find_identity(principal) if service is not None else None


def _account_of(arn: str) -> str:
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 else ""
