"""Resource policies."""

import json
from collections.abc import Mapping
from typing import Any

from hanabi.control.functions import Functions
from hanabi.control.resource_policies import add_statement, delete_policy, find_policy, find_statement, put_policy, remove_statement
from hanabi.edge.auth.policy_documents import MalformedPolicyDocument, check_document, read_document, statements
from hanabi.edge.service import Call
from hanabi.errors import InvalidParameterValue, ResourceNotFound
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

    # --- the policy as a whole, Deny statements too: by the ARN of what it is for -----------------------------------------

    async def put_resource_policy(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        given, id = _read_policy(params["Policy"])
        revision_id = params.get("RevisionId")
        function = await self._functions.change(name, lambda function: put_policy(function, qualifier, given, id, revision_id))
        policy, revision_id = find_policy(function, qualifier)
        return {"Policy": policy, "RevisionId": revision_id}

    async def get_resource_policy(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        return await self.get_policy(call, params, target)

    async def delete_resource_policy(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        await self._functions.change(name, lambda function: delete_policy(function, qualifier, params.get("RevisionId")))
        return {}


def _read_policy(text: str) -> tuple[tuple[Mapping[str, Any], ...], str]:
    """Return (statements, Id) of a policy document; an empty Id: it has none."""
    try:
        check_document(text, trust=False, resource=True)
    except MalformedPolicyDocument as error:
        raise InvalidParameterValue(f"The policy is not valid: {error.message}") from None
    document = read_document(text)
    id = document.get("Id", "")
    if document.get("Version") != "2012-10-17" or not isinstance(id, str) or document.keys() - {"Version", "Id", "Statement"}:
        raise InvalidParameterValue("The policy is not valid: it has Version 2012-10-17, Statement, and perhaps an Id.")
    if any(not isinstance(statement.get("Sid", ""), str) or "NotResource" in statement for statement in statements(document)):
        raise InvalidParameterValue("The policy is not valid: a Sid is a text, and NotResource is not supported.")
    return tuple(statements(document)), id
