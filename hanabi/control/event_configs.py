"""Event invoke configs: retries, age and destinations of asynchronous invocations, one for each qualifier.

Pure: each function takes a function value and returns a new one. Words and order of the refusals are as recorded on AWS (LocalStack's
validated tests).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hanabi.control.arns import LATEST, AccountRegion
from hanabi.control.model import EventConfig, Function
from hanabi.errors import InvalidParameterValue, ResourceNotFound

_MEMBERS = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
# The resource in a destination's ARN, by service. "Configuring destinations for asynchronous invocation": no FIFO queues and topics.
_RESOURCES = {
    "lambda": re.compile(r"function:(?P<name>[a-zA-Z0-9_-]+)(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9_-]+))?", re.ASCII),
    "sqs": re.compile(r"[a-zA-Z0-9_-]+", re.ASCII),
    "sns": re.compile(r"[a-zA-Z0-9_-]+", re.ASCII),
    "events": re.compile(r"event-bus/[a-zA-Z0-9_./-]+", re.ASCII),
    "s3": re.compile(r"[a-z0-9.-]+", re.ASCII),  # of failures alone
}


def check_given(params: Mapping[str, Any]) -> None:
    """Refuse parameters that set nothing."""
    if all(params.get(member) is None for member in _MEMBERS):
        raise InvalidParameterValue("You must specify at least one of error handling or destination setting.")


def check_owner(function: Function | None, qualifier: str | None) -> Function:
    """Return the function if it has the qualifier."""
    if function is None or not (function.version(qualifier or LATEST) or qualifier in function.aliases):
        raise ResourceNotFound("The function doesn't exist.")
    return function


def find_config(function: Function | None, account_region: AccountRegion, name: str, qualifier: str | None) -> EventConfig:
    config = function.event_configs.get(qualifier or LATEST) if function else None
    if config is None:
        raise ResourceNotFound(f"The function {account_region.arn(name, qualifier or LATEST)} doesn't have an EventInvokeConfig")
    return config


def put_config(function: Function, qualifier: str | None, params: Mapping[str, Any], now_ms: int) -> Function:
    """Set one: what is not given is Lambda's default again. `params` are PutFunctionEventInvokeConfig's."""
    check_owner(function, qualifier)
    return _change(function, EventConfig(qualifier=qualifier or LATEST, modified_ms=now_ms), params)


def change_config(function: Function, config: EventConfig, params: Mapping[str, Any], now_ms: int) -> Function:
    """Change what is given. `params` are UpdateFunctionEventInvokeConfig's."""
    return _change(function, replace(config, modified_ms=now_ms), params)


def remove_config(function: Function, qualifier: str | None) -> Function:
    return replace(function, event_configs={key: each for key, each in function.event_configs.items() if key != (qualifier or LATEST)})


def check_destinations(name: str, account_region: AccountRegion, params: Mapping[str, Any], exists: Callable[[str], bool]) -> None:
    """Check the DestinationConfig of a function's events. `exists`: whether the account has a function of that name in the region."""
    success, failure = _read_destinations(params.get("DestinationConfig") or {})
    services = {arn: arn.split(":")[2] if arn.startswith("arn:") else "" for arn in (success, failure) if arn}
    for arn, service in services.items():
        if service in _RESOURCES:
            _check_resource(arn, service, name, account_region, exists)
    if any(service not in _RESOURCES for service in services.values()) or (success and services[success] == "s3"):
        shown_success = f"OnSuccess(destination={success})" if success else "null"
        shown_failure = f"OnFailure(destination={failure})" if failure else "null"
        raise InvalidParameterValue(
            f"The provided destination config DestinationConfig(onSuccess={shown_success}, onFailure={shown_failure}) is invalid."
        )


def destination_functions(account_region: AccountRegion, params: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the functions of this account and region that a DestinationConfig names: (name, qualifier)."""
    prefix = account_region.arn("")
    for arn in _read_destinations(params.get("DestinationConfig") or {}):
        if arn and arn.startswith(prefix):
            name, _, qualifier = arn.removeprefix(prefix).partition(":")
            yield name, qualifier or None


def _check_resource(arn: str, service: str, name: str, account_region: AccountRegion, exists: Callable[[str], bool]) -> None:
    _, _, _, region, account, resource = arn.split(":", 5)
    match = _RESOURCES[service].fullmatch(resource)
    invalid = InvalidParameterValue(f"The destination ARN {arn} is invalid.")
    if match is None or bool(region and account) != (service != "s3"):
        raise invalid
    if service == "lambda":
        if not arn.startswith(account_region.arn("")) or not exists(match["name"]):
            raise invalid
        if match["name"] == name:
            raise InvalidParameterValue("You can't specify the function as a destination for itself.")


def _read_destinations(config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the ARNs of a DestinationConfig: (on success, on failure)."""
    success, failure = (((config.get(member) or {}).get("Destination") or None) for member in ("OnSuccess", "OnFailure"))
    return success, failure


def _change(function: Function, config: EventConfig, params: Mapping[str, Any]) -> Function:
    if params.get("MaximumRetryAttempts") is not None:
        config = replace(config, retries=params["MaximumRetryAttempts"])
    if params.get("MaximumEventAgeInSeconds") is not None:
        config = replace(config, age_s=params["MaximumEventAgeInSeconds"])
    if params.get("DestinationConfig") is not None:
        success, failure = _read_destinations(params["DestinationConfig"])
        config = replace(config, on_success=success, on_failure=failure)
    return replace(function, event_configs={**function.event_configs, config.qualifier: config})
