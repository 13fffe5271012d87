"""The roles that Lambda can assume and functions run as. Kept in memory, since every invocation checks."""

from collections.abc import Iterable, Mapping
from typing import Any

from hanabi.base.health import Health
from hanabi.control.arns import AccountRegion
from hanabi.control.model import Function
from hanabi.edge.auth.evaluate import AccessRequest, Verdict, evaluate_resource_policy
from hanabi.edge.auth.policy_documents import read_document, statements
from hanabi.errors import AccessDenied, InvalidParameterValue

LAMBDA = "lambda.amazonaws.com"
REFUSAL = "The role defined for the function cannot be assumed by Lambda."


class ExecutionRoles:
    """The roles. `iam` reports each role that is created, changed or deleted. `any_role`: any name is valid (`--roles any`).

    Functions have roles of their own account, as on AWS. With `any_role` those of the node's own account may have others', and with
    `any_account` all: who may be every account (`--auth none`).
    """

    def __init__(
        self, account_region: AccountRegion, *, any_role: bool = False, any_account: bool = False, assumable: set[str] | None = None
    ) -> None:
        """`account_region` is the node's own."""
        self._home = self._account_region = account_region
        self._any = any_role
        self._any_account = any_account
        self._assumable: set[str] = set() if assumable is None else assumable  # of all accounts

    def of(self, account_region: AccountRegion) -> "ExecutionRoles":
        """Return the same roles as another account's functions may have them."""
        roles = ExecutionRoles(self._home, any_role=self._any, any_account=self._any_account, assumable=self._assumable)
        roles._account_region = account_region
        return roles

    def changed(self, arn: str, role: Mapping[str, Any] | None) -> None:
        if role is not None and self._trusts_lambda(role):
            self._assumable.add(arn)
        else:
            self._assumable.discard(arn)

    def __contains__(self, arn: object) -> bool:
        return self._any or arn in self._assumable

    def check(self, arn: str) -> None:
        """Raise the error of CreateFunction and UpdateFunctionConfiguration for a role that Lambda cannot assume."""
        own = self._account_region.account
        if arn.split(":")[4] != own and not (self._any and (self._any_account or own == self._home.account)):
            raise AccessDenied("Cross-account pass role is not allowed.")
        if arn not in self:
            raise InvalidParameterValue(REFUSAL)

    def check_invocable(self, arn: str) -> None:
        """Raise the error of Invoke for a role that no longer exists or trusts Lambda."""
        if not self._any and arn not in self._assumable:
            raise AccessDenied(REFUSAL)

    def report(self, functions: Iterable[Function], health: Health) -> None:
        """Report the functions that cannot be invoked for their roles."""
        names = [function.name for function in functions if function.latest.settings.role not in self]
        if not names:
            health.clear("roles")
            return
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        what = f"roles that do not exist, or that Lambda may not assume, so they cannot be invoked: {shown}"
        health.report("roles", f"{len(names)} functions have {what}. Create the roles, or start with --roles any")

    def _trusts_lambda(self, role: Mapping[str, Any]) -> bool:
        condition_keys = {
            "aws:sourceaccount": (role["Arn"].split(":")[4],),
            "aws:principalisawsservice": ("true",),
            "aws:principalservicename": (LAMBDA,),
        }
        trust = statements(read_document(role["AssumeRolePolicyDocument"]))
        return evaluate_resource_policy(trust, LAMBDA, AccessRequest("sts:AssumeRole", (role["Arn"],), condition_keys)) is Verdict.ALLOW
