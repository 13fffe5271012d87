"""Event invoke configurations: how asynchronous invocations are tried, and where their results go."""

from typing import Any

from hanabi.control.event_configs import change_config, check_destinations, check_given, check_owner, find_config, put_config, remove_config
from hanabi.control.functions import Functions
from hanabi.control.model import EventConfig, Function
from hanabi.edge.service import Call
from hanabi.services.lambda_.pages import take_page
from hanabi.services.lambda_.targets import Qualified


class EventConfigOperations:
    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    async def put_event_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        check_given(params)
        check_owner(self._functions.get(name), qualifier)
        self._check_destinations(name, params)
        now_ms = self._functions.now_ms()
        function = await self._functions.change(name, lambda function: put_config(function, qualifier, params, now_ms))
        return self._describe(function, self._find(target))

    async def update_event_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        check_given(params)
        check_owner(self._functions.get(name), qualifier)
        self._find(target)
        self._check_destinations(name, params)
        now_ms, place = self._functions.now_ms(), self._functions.account_region

        def change(function: Function) -> Function:
            return change_config(function, find_config(function, place, name, qualifier), params, now_ms)

        function = await self._functions.change(name, change)
        return self._describe(function, self._find(target))

    async def get_event_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        config = self._find(target)
        return self._describe(self._functions.find(target[0]), config)

    async def delete_event_config(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        name, qualifier = target
        self._find(target)
        await self._functions.change(name, lambda function: remove_config(function, qualifier))
        return {}

    async def list_event_configs(self, call: Call, params: dict[str, Any], target: Qualified) -> dict[str, Any]:
        function = check_owner(self._functions.get(target[0]), None)
        configs = sorted(function.event_configs.values(), key=_sort_key)
        page, more = take_page(configs, _sort_key, params)
        return {"FunctionEventInvokeConfigs": [self._describe(function, config) for config in page], **more}

    def _find(self, target: Qualified) -> EventConfig:
        name, qualifier = target
        return find_config(self._functions.get(name), self._functions.account_region, name, qualifier)

    def _check_destinations(self, name: str, params: dict[str, Any]) -> None:
        check_destinations(name, self._functions.account_region, params, lambda other: self._functions.get(other) is not None)

    def _describe(self, function: Function, config: EventConfig) -> dict[str, Any]:
        """Make a FunctionEventInvokeConfig: of the bounds only those that were given, as Lambda."""
        description: dict[str, Any] = {
            "LastModified": config.modified_ms / 1000,
            "FunctionArn": f"{function.arn}:{config.qualifier}",
            "DestinationConfig": {
                "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
                "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
            },
        }
        if config.retries is not None:
            description["MaximumRetryAttempts"] = config.retries
        if config.age_s is not None:
            description["MaximumEventAgeInSeconds"] = config.age_s
        return description


def _sort_key(config: EventConfig) -> str:
    """Sort `$LATEST` first, then versions by number, then aliases."""
    return (
        config.qualifier.zfill(12)
        if config.qualifier.isdecimal()
        else config.qualifier
        if config.qualifier[0] == "$"
        else f"a{config.qualifier}"
    )
