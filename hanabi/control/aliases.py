"""Aliases of a function: names for one version, or two by weight. Pure: each function takes a function value and returns a new one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hanabi.control.arns import LATEST, is_alias, is_version
from hanabi.control.model import Alias, Function, new_id
from hanabi.control.provisioned import check_alias
from hanabi.control.versions import check_revision
from hanabi.errors import InvalidParameterValue, ResourceConflict, ResourceNotFound, UntypedInvalidParameterValue, ValidationError

_AT = "at 'routingConfig.additionalVersionWeights' failed to satisfy constraint:"


def find_alias(function: Function, name: str) -> Alias:
    alias = function.aliases.get(name)
    if alias is None:
        raise ResourceNotFound(f"Cannot find alias arn: {function.arn}:{name}")
    return alias


def add_alias(function: Function, params: Mapping[str, Any]) -> Function:
    """Add an alias. `params` are CreateAlias's."""
    name, version = params["Name"], params["FunctionVersion"]
    if not is_alias(name):
        raise ValidationError(
            f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"
        )
    _check_version(function, version)
    if name in function.aliases:
        raise ResourceConflict(f"Alias already exists: {function.arn}:{name}")
    other, weight = _read_routing(function, version, params.get("RoutingConfig"))
    alias = Alias(name=name, version=version, description=params.get("Description") or "", revision_id=new_id(), other=other, weight=weight)
    return replace(function, aliases={**function.aliases, name: alias})


def change_alias(function: Function, params: Mapping[str, Any]) -> Function:
    """Change an alias. `params` are UpdateAlias's."""
    name = params["Name"]
    alias = function.aliases.get(name)
    if alias is None:
        raise ResourceNotFound(f"Alias not found: {function.arn}:{name}")
    check_revision(params.get("RevisionId"), alias.revision_id)
    changes: dict[str, Any] = {"revision_id": new_id()}
    version = params.get("FunctionVersion") or alias.version
    _check_version(function, version)
    if params.get("RoutingConfig") is not None:
        changes["other"], changes["weight"] = _read_routing(function, version, params["RoutingConfig"])
    elif alias.other is not None:
        _check_pair(version, alias.other)
    if "Description" in params:
        changes["description"] = params["Description"]
    alias = replace(alias, version=version, **changes)
    if name in function.provisioned:
        check_alias(function, alias)
    return replace(function, aliases={**function.aliases, name: alias})


def remove_alias(function: Function, name: str) -> Function:
    """Remove an alias with all but its URL, which stays and refuses its callers. No error when it does not exist."""
    if name not in function.aliases:
        return function
    return replace(
        function,
        aliases={other: alias for other, alias in function.aliases.items() if other != name},
        policies={qualifier: statements for qualifier, statements in function.policies.items() if qualifier != name},
        provisioned={qualifier: config for qualifier, config in function.provisioned.items() if qualifier != name},
        event_configs={qualifier: config for qualifier, config in function.event_configs.items() if qualifier != name},
    )


def _read_routing(function: Function, version: str, config: Mapping[str, Any] | None) -> tuple[str | None, float]:
    """Return (the second version, its weight)."""
    weights: Mapping[str, float] = (config or {}).get("AdditionalVersionWeights") or {}
    if len(weights) > 1:
        raise InvalidParameterValue("Number of items in AdditionalVersionWeights cannot be greater than 1")
    for other, weight in weights.items():
        if not 0.0 <= weight <= 1.0:  # NaN is neither
            raise ValidationError(
                f"1 validation error detected: Value '{{{other}={weight}}}' {_AT} Map value must satisfy constraint: "
                "[Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, "
                "Member must not be null]"
            )
        _check_pair(version, other)
        if not is_version(other):
            raise ValidationError(
                f"1 validation error detected: Value '{{{other}={weight}}}' {_AT} Map keys must satisfy constraint: "
                "[Member must have length less than or equal to 1024, Member must have length greater than or equal to 1, "
                "Member must satisfy regular expression pattern: [0-9]+]"
            )
        _check_version(function, other)
        return other, float(weight)
    return None, 0.0


def _check_pair(version: str, other: str) -> None:
    if version == other:
        raise InvalidParameterValue(
            f"Invalid function version {version}. Function version {version} is already included in routing configuration."
        )
    if version == LATEST:
        raise UntypedInvalidParameterValue("$LATEST is not supported for an alias pointing to more than 1 version")


def _check_version(function: Function, number: str) -> None:
    if function.version(number) is None:
        raise ResourceNotFound(f"Function not found: {function.arn}:{number}")
