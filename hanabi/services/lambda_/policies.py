"""Resource policies."""

import json
from typing import Any

from hanabi.control.functions import Functions
from hanabi.control.resource_policies import add_statement, find_policy, find_statement, remove_statement
from hanabi.edge.service import Call
from hanabi.errors import ResourceNotFound
from hanabi.services.lambda_.targets import Qualified


class PolicyOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def add_permission(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        function = await self._functions.change(name, lambda function: add_statement(function, qualifier, params))
        statement = find_statement(function, qualifier, params["StatementId"])
        return {"Statement": json.dumps(statement, separators=(",", ":"))}

    async def remove_permission(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        if self._functions.get(name) is None:
            raise ResourceNotFound(f"No policy found for: {self._functions.account_region.arn(name)}")
        sid, revision_id = params["StatementId"], params.get("RevisionId")
        await self._functions.change(name, lambda function: remove_statement(function, qualifier, sid, revision_id))
        return {}

    async def get_policy(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        policy, revision_id = find_policy(self._functions.get(name), qualifier)
        return {"Policy": policy, "RevisionId": revision_id}
