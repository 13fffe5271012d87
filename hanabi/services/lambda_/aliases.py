"""Aliases."""

from typing import Any

from hanabi.control.aliases import add_alias, change_alias, find_alias, remove_alias
from hanabi.control.functions import Functions
from hanabi.edge.service import Call
from hanabi.errors import ResourceNotFound
from hanabi.services.lambda_.describe import describe_alias
from hanabi.services.lambda_.pages import take_page


class AliasOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def create_alias(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        if self._functions.get(name) is None:
            raise ResourceNotFound(f"Function not found: {self._functions.account_region.arn(name, params['FunctionVersion'])}")
        function = await self._functions.change(name, lambda function: add_alias(function, params))
        return describe_alias(function, function.aliases[params["Name"]])

    async def get_alias(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        function = self._functions.find(name)
        return describe_alias(function, find_alias(function, params["Name"]))

    async def update_alias(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        function = await self._functions.change(name, lambda function: change_alias(function, params))
        return describe_alias(function, function.aliases[params["Name"]])

    async def delete_alias(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        await self._functions.change(name, lambda function: remove_alias(function, params["Name"]))
        return {}

    async def list_aliases(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        function = self._functions.find(name)
        version = params.get("FunctionVersion")
        found = sorted((a for a in function.aliases.values() if version in (None, a.version, a.other)), key=lambda alias: alias.name)
        page, more = take_page(found, lambda alias: alias.name, params)
        return {"Aliases": [describe_alias(function, alias) for alias in page], **more}
