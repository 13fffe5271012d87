"""Provisioned concurrency of published versions and aliases."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hanabi.contracts.functions import Allocation
from hanabi.control.catalog import FunctionCatalog
from hanabi.control.functions import Functions
from hanabi.control.model import Function, ProvisionedConfig
from hanabi.control.provisioned import UNPUBLISHED, find_config, find_resource, put_config, remove_config, shares
from hanabi.control.recent_updates import RecentUpdates
from hanabi.edge.service import Call
from hanabi.services.lambda_.pages import take_page
from hanabi.services.lambda_.targets import Qualified

Allocations = Callable[[str], Allocation]  # by `FunctionVersion.key`


class ProvisionedOperations:
    def __init__(self, functions: Functions, catalog: FunctionCatalog, allocation: Allocations, recent: RecentUpdates) -> None:
        self._functions = functions
        self._catalog = catalog
        self._allocation = allocation
        self._recent = recent

    async def put_provisioned(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        functions, requested = self._functions, params["ProvisionedConcurrentExecutions"]
        name, qualifier, _ = self._find(target, UNPUBLISHED)

        def put(function: Function) -> Function:
            find_resource(function, functions.account_region, name, qualifier, UNPUBLISHED)
            return put_config(function, qualifier, requested, self._catalog.unreserved_beside(name), functions.now_ms())

        function = await functions.change(name, put)
        return self._describe(function, function.provisioned[qualifier])

    async def get_provisioned(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        _, qualifier, function = self._find(target)
        return self._describe(function, find_config(function, qualifier))

    async def delete_provisioned(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier, _ = self._find(target)
        await self._functions.change(name, lambda function: remove_config(function, qualifier))
        return {}

    async def list_provisioned(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        function = self._functions.find(target[0])
        configs = sorted(function.provisioned.values(), key=_sort_key)
        page, more = take_page(configs, _sort_key, params)
        listed = [{"FunctionArn": f"{function.arn}:{each.qualifier}", **self._describe(function, each)} for each in page]
        return {"ProvisionedConcurrencyConfigs": listed, **more}

    def _find(self, target: Qualified, *unpublished: str) -> tuple[str, str, Function]:
        """Find (name, qualifier, the function that has it)."""
        name, qualifier = target
        function = find_resource(self._functions.get(name), self._functions.account_region, name, qualifier, *unpublished)
        return name, qualifier or "", function

    def _describe(self, function: Function, config: ProvisionedConfig) -> dict[str, Any]:
        if self._recent.has_just_begun(config.modified_ms):
            return _description(config, 0, "IN_PROGRESS")
        parts = [self._allocation(function.key(function.versions[number])) for number, count in shares(function, config).items() if count]
        failure = next((part.failure for part in parts if part.failure), None)
        allocated = min(config.requested, sum(part.allocated for part in parts))  # more while it is being lowered
        status = "FAILED" if failure else "READY" if all(part.complete for part in parts) else "IN_PROGRESS"
        return _description(config, allocated, status) | ({"StatusReason": failure} if failure else {})


def _description(config: ProvisionedConfig, allocated: int, status: str) -> dict[str, Any]:
    return {
        "RequestedProvisionedConcurrentExecutions": config.requested,
        "AvailableProvisionedConcurrentExecutions": allocated,
        "AllocatedProvisionedConcurrentExecutions": allocated,
        "Status": status,
        "LastModified": f"{datetime.fromtimestamp(config.modified_ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}+0000",
    }


def _sort_key(config: ProvisionedConfig) -> str:
    """Sort versions by number, then aliases."""
    return config.qualifier.zfill(12) if config.qualifier.isdecimal() else f"a{config.qualifier}"
