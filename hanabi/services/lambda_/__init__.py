"""The Lambda service: its operations, one module for each topic."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from hanabi.base.clock import Clock
from hanabi.contracts.functions import Allocation
from hanabi.contracts.invocation import EventQueue, Invoker
from hanabi.control.plane import ControlPlane
from hanabi.control.tags import FunctionTags
from hanabi.edge.protocols.wording import Wording
from hanabi.edge.service import Operation, Service
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.lambda_.aliases import AliasOperations
from hanabi.services.lambda_.code_signing import CodeSigningOperations
from hanabi.services.lambda_.concurrency import ConcurrencyOperations
from hanabi.services.lambda_.event_configs import EventConfigOperations
from hanabi.services.lambda_.event_source_mappings import MappingOperations, MappingTags, MappingTargets
from hanabi.services.lambda_.functions import CodeUrl, FunctionOperations, Staging
from hanabi.services.lambda_.invoke import InvokeOperations
from hanabi.services.lambda_.layer_targets import LayerTargets
from hanabi.services.lambda_.layers import LayerOperations
from hanabi.services.lambda_.operations import operations
from hanabi.services.lambda_.policies import PolicyOperations
from hanabi.services.lambda_.provisioned import Allocations, ProvisionedOperations
from hanabi.services.lambda_.resource_targets import ResourceTargets
from hanabi.services.lambda_.tags import CodeSigningTags, Kinds, NoneOfKind, TagOperations
from hanabi.services.lambda_.targets import FunctionTargets
from hanabi.services.lambda_.urls import UrlOperations
from hanabi.services.lambda_.versions import VersionOperations

# As recorded in 2025 and 2026: LocalStack's test_tag_exceptions, test_invalid_vpc_config_subnet and _security_group.
WORDING = Wording(
    nullable=frozenset({"SubnetIds", "SecurityGroupIds"}),
    patterns={
        "TaggableResource": (
            r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
            r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|"
            r"event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|"
            r"capacity-provider:[a-zA-Z0-9-_]+)"
        )
    },
)


class LambdaService(Service):
    """The `lambda` service. Operations of the model that are missing here answer 501.

    `code_url` makes the download URL of code by `CodeSha256`. `allocation` returns a version's provisioned concurrency at the moment.
    `roles` are those that Lambda can assume; without it, all. `staging` replaces the names of uploaded zips by their code.
    """

    name = "lambda"
    wording = WORDING

    def __init__(
        self,
        control: ControlPlane,
        invoker: Invoker,
        events: EventQueue,
        clock: Clock,
        code_url: CodeUrl | None = None,
        allocation: Allocations = lambda key: Allocation(),
        roles: ExecutionRoles | None = None,
        staging: Staging = lambda principal, code: nullcontext(code),
    ) -> None:
        functions, catalog = control.functions, control.catalog
        roles = roles or ExecutionRoles(functions.account_region, any_role=True)
        kinds: Kinds = {  # by the word for them in ARNs
            "capacity-provider": NoneOfKind("Capacity provider"),
            "code-signing-config": CodeSigningTags(control.code_signing),
            "event-source-mapping": MappingTags(control.mappings),
            "function": FunctionTags(functions),
            "network-connector": NoneOfKind("Network connector"),
        }
        on = FunctionTargets(functions, control.layers)
        self.operations: Mapping[str, Operation[Any]] = operations(
            on,
            LayerTargets(control.layers),
            ResourceTargets(on, control.code_signing, kinds),
            MappingTargets(control.mappings),
            AliasOperations(functions),
            CodeSigningOperations(control.code_signing, functions),
            ConcurrencyOperations(functions, control.usage, catalog),
            EventConfigOperations(functions),
            FunctionOperations(control, code_url, roles, staging),
            InvokeOperations(catalog, roles, invoker, events, clock),
            LayerOperations(control.layers, control.foreign_layers, code_url, staging),
            MappingOperations(control.mappings),
            PolicyOperations(functions),
            ProvisionedOperations(functions, catalog, allocation, control.recent),
            TagOperations(kinds),
            UrlOperations(functions, control.urls),
            VersionOperations(functions),
        )
