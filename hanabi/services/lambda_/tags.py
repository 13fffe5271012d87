"""Tags of functions."""

from typing import Any

from hanabi.control.functions import Functions
from hanabi.control.tags import add_tags, remove_tags
from hanabi.edge.service import Call


class TagOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def tag_resource(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        await self._functions.change(name, lambda function: add_tags(function, params["Tags"]))
        return {}

    async def untag_resource(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        await self._functions.change(name, lambda function: remove_tags(function, params["TagKeys"]))
        return {}

    async def list_tags(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        return {"Tags": dict(self._functions.find(name).tags)}
