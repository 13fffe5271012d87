"""The Lambda service: its operations, one module for each topic."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from hanabi.api.execution_roles import ExecutionRoles
from hanabi.api.lambda_.aliases import AliasOperations
from hanabi.api.lambda_.concurrency import ConcurrencyOperations
from hanabi.api.lambda_.functions import FunctionOperations, Locate, Staging
from hanabi.api.lambda_.invoke import InvokeOperations
from hanabi.api.lambda_.policies import PolicyOperations
from hanabi.api.lambda_.provisioned import Allocations, ProvisionedOperations
from hanabi.api.lambda_.tags import TagOperations
from hanabi.api.lambda_.targets import Targets
from hanabi.api.lambda_.urls import UrlOperations
from hanabi.api.lambda_.versions import VersionOperations
from hanabi.api.service import Operation
from hanabi.contracts import Allocation, Clock, EventQueue, Invoker
from hanabi.control.functions import Functions


class LambdaService:
    """An operation of the model that is not here answers 501.

    `locate` makes the URL where a client gets code with a `CodeSha256`; `allocation` says what there is of a version's
    provisioned concurrency; `roles` are those that Lambda can assume; without it, all; `staging` puts code in place of the names of what
    was uploaded ahead.
    """

    name = "lambda"

    def __init__(
        self,
        functions: Functions,
        invoker: Invoker,
        events: EventQueue,
        clock: Clock,
        locate: Locate | None = None,
        allocation: Allocations = lambda key: Allocation(),
        roles: ExecutionRoles | None = None,
        staging: Staging = lambda principal, code: nullcontext(code),
    ) -> None:
        targets, roles = Targets(functions), roles or ExecutionRoles(functions.place, any_role=True)
        self.operations: Mapping[str, Operation[Any]] = {
            **InvokeOperations(functions, targets, roles, invoker, events, clock).operations,
            **FunctionOperations(functions, targets, locate, roles, staging).operations,
            **VersionOperations(functions, targets).operations,
            **AliasOperations(functions, targets).operations,
            **ConcurrencyOperations(functions, targets).operations,
            **ProvisionedOperations(functions, targets, allocation).operations,
            **UrlOperations(functions, targets).operations,
            **PolicyOperations(functions, targets).operations,
            **TagOperations(functions, targets).operations,
        }
