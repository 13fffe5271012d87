"""CreateFunction and the other operations on a whole function."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.model import Code, Function, Version
from hanabi.control.plane import ControlPlane
from hanabi.control.runtime_management import describe_config, put_config
from hanabi.control.versions import check_deletable, find_version, published_by, publishes, remove_version
from hanabi.edge.service import Call
from hanabi.errors import ResourceNotFound
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.lambda_.describe import describe_listed, describe_version
from hanabi.services.lambda_.pages import name_before, take_page
from hanabi.services.lambda_.targets import Qualified
from hanabi.services.lambda_.versions import sort_key

CodeUrl = Callable[[HttpRequest, str], str | None]
Staging = Callable[[Principal, Mapping[str, Any]], AbstractAsyncContextManager[Mapping[str, Any]]]  # `code_upload`'s


class FunctionOperations:
    def __init__(self, control: ControlPlane, code_url: CodeUrl | None, roles: ExecutionRoles, staging: Staging) -> None:
        self._functions = control.functions
        self._deployment = control.deployment
        self._preparation = control.preparation
        self._code_url = code_url
        self._roles = roles
        self._staging = staging

    async def create_function(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        self._roles.check(params["Role"])
        async with self._staging(call.principal, params["Code"]) as code:
            function = await self._deployment.create(name, {**params, "Code": code}, call.principal.arn)
        await self._preparation.wait_briefly(function)
        version = published_by(function, params) if publishes(params) else function.latest
        return self._describe(function, version, function.arn)

    async def update_function_code(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        async with self._staging(call.principal, params) as given:
            function = await self._deployment.update_code(name, given)
        await self._preparation.wait_briefly(function)
        if publishes(params) and not params.get("DryRun"):
            version = published_by(function, params)
            return self._describe(function, version, f"{function.arn}:{version.number}")
        return self._describe(function, function.latest, function.arn)

    async def update_function_configuration(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        self._functions.find(name)
        if params.get("Role"):
            self._roles.check(params["Role"])
        function = await self._deployment.update_settings(name, params, call.principal.arn)
        await self._preparation.wait_briefly(function)
        return self._describe(function, function.latest, function.arn)

    async def delete_function(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        if qualifier is None:
            await self._deployment.delete(name)
        else:
            check_deletable(qualifier)
            await self._functions.change(name, lambda function: remove_version(function, qualifier))
        return {"StatusCode": 204}

    async def get_function(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        function, version, arn = self._find(target)
        answer: dict[str, Any] = {
            "Configuration": self._describe(function, version, arn),
            "Code": self._describe_code(call, version.code),
        }
        if function.tags:
            answer["Tags"] = dict(function.tags)
        if function.reserved is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved}
        return answer

    def _describe(self, function: Function, version: Version, arn: str) -> dict[str, Any]:
        return describe_version(function, self._preparation.shown(function, version), arn)

    def _describe_code(self, call: Call, code: Code) -> dict[str, Any]:
        if code.image:
            return {"RepositoryType": "ECR", "ImageUri": code.image_uri, "ResolvedImageUri": code.image}
        location = self._code_url(call.request, code.sha256) if self._code_url else None
        described: dict[str, Any] = {"RepositoryType": "S3"}
        optional = {"Location": location, "ResolvedS3Object": code.object, "SourceKMSKeyArn": code.source_key}
        return described | {member: value for member, value in optional.items() if value}

    async def get_function_configuration(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        return self._describe(*self._find(target))

    async def list_functions(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        """List functions; with `FunctionVersion` ALL, all versions of each."""
        functions = self._functions.values_from(name_before(params))
        listed = _all_versions(functions) if params.get("FunctionVersion") == "ALL" else ((f, f.latest, f.arn) for f in functions)
        page, more = take_page(listed, _sort_key, params)
        return {"Functions": [describe_listed(*each) for each in page], **more}

    async def get_function_recursion_config(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        return {"RecursiveLoop": "Allow" if self._functions.find(name).may_recurse else "Terminate"}

    async def put_function_recursion_config(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        may_recurse = params["RecursiveLoop"] == "Allow"
        await self._functions.change(name, lambda function: replace(function, may_recurse=may_recurse))
        return {"RecursiveLoop": params["RecursiveLoop"]}

    # --- which version of its runtime it runs on ----------------------------------------------------------------------

    async def get_runtime_management_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        return describe_config(self._functions.find(name), qualifier)

    async def put_runtime_management_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        return describe_config(await self._functions.change(name, put_config(params, qualifier)), qualifier)

    # ----------------------------------------------------------------------------------------------------------------------

    def _find(self, target: Qualified) -> tuple[Function, Version, str]:
        """Find (function, version, ARN) of a name and a qualifier."""
        name, qualifier = target
        function = self._functions.get(name)
        if function is None:
            raise ResourceNotFound(f"Function not found: {self._functions.account_region.arn(name, qualifier)}")
        return (function, *find_version(function, qualifier))


def _all_versions(functions: Iterator[Function]) -> Iterator[tuple[Function, Version, str]]:
    for function in functions:
        for version in (function.latest, *function.versions.values()):
            yield function, version, f"{function.arn}:{version.number}"


def _sort_key(listed: tuple[Function, Version, str]) -> str:
    """Sort by name; a space is less than any character of a name."""
    function, version, _ = listed
    return f"{function.name} {sort_key(version)}"
