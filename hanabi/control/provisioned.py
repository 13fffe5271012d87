"""Provisioned concurrency configurations. Pure: each function takes a function value and returns a new one.

Words and order of the refusals are as recorded on AWS (LocalStack's validated tests). At most one configuration reaches a version:
its own, or that of one alias that points to it.
"""

from collections.abc import Mapping
from dataclasses import replace

from hanabi.control.arns import LATEST, AccountRegion, is_alias
from hanabi.control.model import Alias, Function, ProvisionedConfig
from hanabi.control.tenancy import refuse_with_tenancy
from hanabi.control.versions import check_active
from hanabi.errors import (
    InvalidParameterValue,
    ProvisionedConcurrencyConfigNotFound,
    ResourceConflict,
    ResourceNotFound,
    UntypedInvalidParameterValue,
)
from hanabi.quotas import UNRESERVED_CONCURRENCY_MIN

UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
_NO_RESOURCE = "The function resource provided must be an alias or a published version."


def find_resource(
    function: Function | None, account_region: AccountRegion, name: str, qualifier: str | None, unpublished: str = _NO_RESOURCE
) -> Function:
    """Return the function if the qualifier names an alias or published version of it."""
    if not qualifier or qualifier == LATEST:
        raise InvalidParameterValue(unpublished)
    if is_alias(qualifier):
        if function is None or qualifier not in function.aliases:
            raise ResourceNotFound(f"Cannot find alias arn: {account_region.arn(name, qualifier)}")
    elif function is None or qualifier not in function.versions:
        raise ResourceNotFound(f"Function not found: {account_region.arn(name, qualifier)}")
    return function


def find_config(function: Function, qualifier: str) -> ProvisionedConfig:
    config = function.provisioned.get(qualifier)
    if config is None:
        raise ProvisionedConcurrencyConfigNotFound("No Provisioned Concurrency Config found for this function")
    return config


def put_config(function: Function, qualifier: str, requested: int, unreserved: int, now_ms: int) -> Function:
    """Set one. `unreserved` is what the account has left after other functions' provisioned concurrency."""
    alias = function.aliases.get(qualifier)
    if alias is not None:
        check_alias(function, alias)
        if alias.other is not None:
            raise InvalidParameterValue("Alias with weights can not be used with Provisioned Concurrency")
    elif _taken(function, qualifier) & {qualifier}:
        raise ResourceConflict("Version is pointed by a Provisioned Concurrency alias")
    version = function.versions[alias.version if alias else qualifier]
    refuse_with_tenancy(version.settings, "Provisioned Concurrency")
    if version.settings.snap_start:  # AWS Lambda developer guide, "Supported features and limitations" of SnapStart
        raise InvalidParameterValue("Provisioned Concurrency is not supported for SnapStart enabled functions.")
    check_active(version)
    others = sum(config.requested for config in function.provisioned.values() if config.qualifier != qualifier)
    if function.reserved is not None:
        if others + requested > function.reserved:
            raise InvalidParameterValue(
                "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
            )
    elif requested > unreserved - others:
        raise UntypedInvalidParameterValue(
            f"Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{unreserved - others}]."
        )
    elif unreserved - others - requested < UNRESERVED_CONCURRENCY_MIN:
        raise UntypedInvalidParameterValue(
            "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            f"below its minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )
    config = ProvisionedConfig(qualifier=qualifier, requested=requested, modified_ms=now_ms)
    return replace(function, provisioned={**function.provisioned, qualifier: config})


def remove_config(function: Function, qualifier: str) -> Function:
    """Remove one. No error when it does not exist."""
    if qualifier not in function.provisioned:
        return function
    return replace(function, provisioned={other: config for other, config in function.provisioned.items() if other != qualifier})


def check_alias(function: Function, alias: Alias) -> None:
    """Check that an alias, as changed, may have provisioned concurrency."""
    if alias.version == LATEST:
        raise InvalidParameterValue(UNPUBLISHED)
    if _taken(function, alias.name) & {alias.version, alias.other}:
        raise ResourceConflict("Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")


def shares(function: Function, config: ProvisionedConfig) -> Mapping[str, int]:
    """Return each version's share of a configuration: a weighted alias divides it by weight."""
    alias = function.aliases.get(config.qualifier)
    if alias is None:
        return {config.qualifier: config.requested}
    if alias.other is None:
        return {alias.version: config.requested}
    second = round(config.requested * alias.weight)
    return {alias.version: config.requested - second, alias.other: second}


def _taken(function: Function, qualifier: str) -> set[str | None]:
    """Return the versions that other configurations reach."""
    return {number for config in function.provisioned.values() if config.qualifier != qualifier for number in shares(function, config)}
