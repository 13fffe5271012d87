"""Admission of invocations: the concurrency limits of the account and of functions.

AWS Lambda developer guide, "Understanding Lambda function scaling": reserved concurrency is a cap and a guarantee; all
other functions share the rest. Provisioned concurrency is taken from one or the other, for its version only: when a version has all
reserved concurrency provisioned, no other version runs.
"""

from dataclasses import dataclass

from hanabi.contracts.functions import Concurrency, ConcurrencyLimits
from hanabi.errors import TooManyRequests


@dataclass(slots=True, eq=False)
class ProvisionedUse:
    """The provisioned concurrency of one version: how much there is, and how it was used."""

    count: int = 0
    running: int = 0
    served: int = 0  # ProvisionedConcurrencyInvocations
    spilled: int = 0  # ProvisionedConcurrencySpilloverInvocations


class Admission:
    """Counts running invocations. `enter` and `leave` frame each one; both are a few dictionary reads."""

    def __init__(self, limits: ConcurrencyLimits) -> None:
        self._limits = limits
        self._running: dict[str, int] = {}  # on demand
        self._unreserved: dict[str, int] = {}  # of functions without reserved concurrency, by scope
        self._provisions: dict[str, dict[str, ProvisionedUse]] = {}  # by function, then by `FunctionVersion.key`

    def provision(self, function: str, key: str, count: int | None) -> None:
        """Set how much provisioned concurrency a version has initialised; None: it has none any more."""
        provisions = self._provisions.setdefault(function, {})
        if count is None:
            provisions.pop(key, None)
            if not provisions:
                del self._provisions[function]
        else:
            provisions.setdefault(key, ProvisionedUse()).count = count

    def provisions(self, function: str, key: str) -> ProvisionedUse:
        """Return how a version's provisioned concurrency was used."""
        return self._provisions.get(function, {}).get(key) or ProvisionedUse()

    def enter(self, concurrency: Concurrency, key: str = "") -> ProvisionedUse | bool:
        """Count one more of a version; returns how it was counted, for `leave`. Raises `TooManyRequests`."""
        function = concurrency.function
        provisions = self._provisions.get(function)
        provision = provisions.get(key) if provisions else None
        if provision is not None and provision.running < provision.count:
            provision.running += 1
            provision.served += 1
            return provision
        running = self._running.get(function, 0)
        if concurrency.reserved is not None:
            if running >= concurrency.reserved - (_sum(provisions) if provisions else 0):
                raise TooManyRequests("ReservedFunctionConcurrentInvocationLimitExceeded")
        else:
            scope = concurrency.scope
            shared = self._unreserved.get(scope, 0)
            limits = concurrency.limits or self._limits
            if shared >= limits.account_concurrency(scope)[1] - (self._provisioned_unreserved(scope) if self._provisions else 0):
                raise TooManyRequests("ConcurrentInvocationLimitExceeded")
            self._unreserved[scope] = shared + 1
        self._running[function] = running + 1
        if provision is not None:
            provision.spilled += 1
        return concurrency.reserved is None

    def leave(self, concurrency: Concurrency, entered: ProvisionedUse | bool) -> None:
        """Undo one `enter`."""
        if isinstance(entered, ProvisionedUse):
            entered.running -= 1
            return
        left = self._running[concurrency.function] - 1
        if left:
            self._running[concurrency.function] = left
        else:
            del self._running[concurrency.function]
        if entered:
            self._unreserved[concurrency.scope] -= 1

    def total(self) -> int:
        """How many admitted invocations have not ended."""
        provisioned = sum(each.running for provisions in self._provisions.values() for each in provisions.values())
        return sum(self._running.values()) + provisioned

    def running(self, function: str) -> int:
        provisioned = sum(each.running for each in self._provisions.get(function, {}).values())
        return self._running.get(function, 0) + provisioned

    def _provisioned_unreserved(self, scope: str) -> int:
        """How much of the shared part provisioned concurrency takes."""
        mine = ((name, provisions) for name, provisions in self._provisions.items() if name[: name.rfind(":") + 1] == scope)
        return sum(_sum(provisions) for name, provisions in mine if not self._limits.is_reserved(name))


def _sum(provisions: dict[str, ProvisionedUse]) -> int:
    return sum(each.count for each in provisions.values())
