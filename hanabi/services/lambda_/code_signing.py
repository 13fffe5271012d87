"""Code signing configurations, and which function has which."""

from dataclasses import replace
from typing import Any

from hanabi.control.code_signing.configs import CodeSigningConfigs
from hanabi.control.code_signing.model import CodeSigningConfig
from hanabi.control.functions import Functions
from hanabi.control.model import Function
from hanabi.edge.service import Call
from hanabi.errors import InvalidParameterValue
from hanabi.services.lambda_.describe import describe_time
from hanabi.services.lambda_.pages import take_page


class CodeSigningOperations:
    """The operations. A configuration is named by its ARN, which `resolve` has checked."""

    def __init__(self, configs: CodeSigningConfigs, functions: Functions) -> None:
        self._configs = configs
        self._functions = functions

    async def create_config(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        return {"CodeSigningConfig": self._describe(await self._configs.create(params))}

    async def get_config(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        return {"CodeSigningConfig": self._describe(self._configs.find(arn))}

    async def update_config(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        if all(params.get(member) is None for member in ("Description", "AllowedPublishers", "CodeSigningPolicies")):
            return await self.get_config(call, params, arn)
        return {"CodeSigningConfig": self._describe(await self._configs.change(arn, params))}

    async def delete_config(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        await self._configs.delete(arn, lambda: self._users(arn))
        return {}

    async def list_configs(self, call: Call, params: dict[str, Any], target: None) -> dict[str, Any]:
        page, more = take_page(self._configs, lambda config: config.id, params)
        return {"CodeSigningConfigs": [self._describe(config) for config in page], **more}

    async def list_functions(self, call: Call, params: dict[str, Any], arn: str) -> dict[str, Any]:
        self._configs.find(arn)
        page, more = take_page(self._users(arn), lambda each: each, params)
        return {"FunctionArns": page, **more}

    # --- of functions -------------------------------------------------------------------------------------------------

    async def put_function_config(self, call: Call, params: dict[str, Any], target: tuple[str, str]) -> dict[str, Any]:
        name, arn = target
        self._configs.require(arn)

        def put(function: Function) -> Function:
            self._configs.require(arn)
            if function.latest.code.image:
                raise InvalidParameterValue("Code signing is not supported for functions created with container images.")
            return replace(function, code_signing=arn)

        await self._functions.change(name, put)
        return {"CodeSigningConfigArn": arn, "FunctionName": name}

    async def get_function_config(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        function = self._functions.find(name)
        return {"CodeSigningConfigArn": function.code_signing, "FunctionName": name} if function.code_signing else {}

    async def delete_function_config(self, call: Call, params: dict[str, Any], name: str) -> dict[str, Any]:
        await self._functions.change(name, lambda function: replace(function, code_signing="") if function.code_signing else function)
        return {}

    # ------------------------------------------------------------------------------------------------------------------

    def _users(self, arn: str) -> list[str]:
        return [function.arn for function in self._functions if function.code_signing == arn]

    def _describe(self, config: CodeSigningConfig) -> dict[str, Any]:
        return {
            "CodeSigningConfigId": config.id,
            "CodeSigningConfigArn": self._configs.arn(config.id),
            "Description": config.description,
            "AllowedPublishers": {"SigningProfileVersionArns": list(config.publishers)},
            "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": config.policy},
            "LastModified": describe_time(config.modified_ms),
        }
