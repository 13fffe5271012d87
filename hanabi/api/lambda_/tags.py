"""Tags of functions."""

from typing import Any

from hanabi.api.service import Call, Handler
from hanabi.control.functions import Functions
from hanabi.control.tags import add_tags, remove_tags


class TagOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.operations: dict[str, Handler] = {
            "ListTags": self.list_tags,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
        }

    async def tag_resource(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        name = self._functions.place.parse_resource(params["Resource"])
        await self._functions.change(name, lambda function: add_tags(function, params["Tags"]))
        return {}

    async def untag_resource(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        name = self._functions.place.parse_resource(params["Resource"])
        await self._functions.change(name, lambda function: remove_tags(function, params["TagKeys"]))
        return {}

    async def list_tags(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        name = self._functions.place.parse_resource(params["Resource"])
        return {"Tags": dict(self._functions.find(name).tags)}
