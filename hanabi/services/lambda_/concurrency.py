"""Reserved concurrency, and the account's limits."""

from typing import Any

from hanabi.control.account_usage import AccountUsage
from hanabi.control.catalog import FunctionCatalog
from hanabi.control.concurrency import reserve
from hanabi.control.functions import Functions
from hanabi.edge.service import Call
from hanabi.errors import ResourceNotFound
from hanabi.quotas import CODE_STORAGE_BYTES, UNZIPPED_CODE_BYTES, ZIPPED_CODE_BYTES
from hanabi.services.lambda_.targets import Qualified


class ConcurrencyOperations:
    def __init__(self, functions: Functions, usage: AccountUsage, catalog: FunctionCatalog) -> None:
        self._functions = functions
        self._usage = usage
        self._catalog = catalog

    async def put_function_concurrency(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        if self._functions.get(name) is None:
            raise ResourceNotFound(f"Function not found: {self._functions.account_region.arn(name, '$LATEST')}")
        reserved = params["ReservedConcurrentExecutions"]
        await self._functions.change(name, lambda function: reserve(function, reserved, self._catalog.unreserved_beside(name)))
        return {"ReservedConcurrentExecutions": reserved}

    async def get_function_concurrency(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        reserved = self._functions.find(target[0]).reserved
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    async def delete_function_concurrency(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        await self._functions.change(name, lambda function: reserve(function, None, 0))
        return {}

    async def get_account_settings(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        limit, unreserved = self._catalog.account_concurrency()
        return {
            "AccountLimit": {
                "TotalCodeSize": CODE_STORAGE_BYTES,
                "CodeSizeUnzipped": UNZIPPED_CODE_BYTES,
                "CodeSizeZipped": ZIPPED_CODE_BYTES,
                "ConcurrentExecutions": limit,
                "UnreservedConcurrentExecutions": unreserved,
            },
            "AccountUsage": {"TotalCodeSize": self._usage.code_bytes, "FunctionCount": self._usage.functions},
        }
