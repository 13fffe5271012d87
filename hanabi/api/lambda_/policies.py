"""Resource policies."""

import json
from typing import Any

from hanabi.api.service import Call, Handler
from hanabi.control.functions import Functions
from hanabi.control.policies import add_statement, find_policy, find_statement, remove_statement
from hanabi.errors import ResourceNotFound


class PolicyOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.operations: dict[str, Handler] = {
            "AddPermission": self.add_permission,
            "GetPolicy": self.get_policy,
            "RemovePermission": self.remove_permission,
        }

    async def add_permission(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        name, qualifier = self._parse(params)
        function = await self._functions.change(name, lambda function: add_statement(function, qualifier, params))
        statement = find_statement(function, qualifier, params["StatementId"])
        return {"Statement": json.dumps(statement, separators=(",", ":"))}

    async def remove_permission(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        name, qualifier = self._parse(params)
        if self._functions.get(name) is None:
            raise ResourceNotFound(f"No policy found for: {self._functions.place.arn(name)}")
        sid, revision_id = params["StatementId"], params.get("RevisionId")
        await self._functions.change(name, lambda function: remove_statement(function, qualifier, sid, revision_id))
        return {}

    async def get_policy(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        name, qualifier = self._parse(params)
        policy, revision_id = find_policy(self._functions.get(name), qualifier)
        return {"Policy": policy, "RevisionId": revision_id}

    def _parse(self, params: dict[str, Any]) -> tuple[str, str | None]:
        return self._functions.place.parse(params["FunctionName"], params.get("Qualifier"))
