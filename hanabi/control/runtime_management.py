"""Runtime management: whether a version runs on whichever version of its runtime there is, or on one alone.

A host has one version of each runtime: what was built or pulled last. It is never replaced by itself, only when the owner pulls or
builds another, or runs another release of Hanabi. Pure: each function takes a function value and returns a new one.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hanabi.control.arns import LATEST, AccountRegion
from hanabi.control.model import MANUAL, Function, Version, new_id
from hanabi.control.versions import find_version
from hanabi.errors import ImageError, InvalidParameterValue, ResourceNotFound


def runtime_id(arn: str) -> str:
    """Return the id of a runtime version: the last part of its ARN, which is the same in every region."""
    return arn.rpartition(":")[2]


def runtime_arn(place: AccountRegion, arn: str) -> str:
    """Return the ARN of a runtime version as a region has it."""
    return f"arn:{place.partition}:lambda:{place.region}::runtime:{runtime_id(arn)}"


def explain_pin(pin: str) -> str:
    return (
        f"the function is pinned to the runtime version {runtime_id(pin)} (PutRuntimeManagementConfig), and this host has another one. "
        "Set UpdateRuntimeOn to Auto, or to the version that is here"
    )


def check_pin(version: Version, arn: str) -> None:
    """Raise `ImageError` if a version does not run on this runtime version."""
    if version.runtime_pin and runtime_id(version.runtime_pin) != runtime_id(arn):
        raise ImageError(explain_pin(version.runtime_pin), "missing")


def put_config(params: Mapping[str, Any], qualifier: str | None) -> Callable[[Function], Function]:
    """Return the change of PutRuntimeManagementConfig."""
    mode, pin = params["UpdateRuntimeOn"], params.get("RuntimeVersionArn") or ""
    if mode == MANUAL and not pin:
        raise InvalidParameterValue("RuntimeVersionArn is required when UpdateRuntimeOn is Manual.")
    if mode != MANUAL and pin:
        raise InvalidParameterValue(f"RuntimeVersionArn is not allowed when UpdateRuntimeOn is {mode}.")

    def put(function: Function) -> Function:
        version = _managed(function, qualifier)
        if version.code.image:
            raise InvalidParameterValue("Runtime management is not supported for functions of PackageType Image.")
        if pin and version.runtime_arn and runtime_id(pin) != runtime_id(version.runtime_arn):
            raise InvalidParameterValue(f"The runtime version {pin} is not on this host: it has {version.runtime_arn}.")
        version = replace(version, runtime_update=mode, runtime_pin=pin, revision_id=new_id())
        if version.number == LATEST:
            return replace(function, latest=version)
        return replace(function, versions={**function.versions, version.number: version})

    return put


def describe_config(function: Function, qualifier: str | None) -> dict[str, Any]:
    """Make the answer of Put- and GetRuntimeManagementConfig."""
    version, arn = _managed(function, qualifier), find_version(function, qualifier)[1]
    return {"UpdateRuntimeOn": version.runtime_update, "FunctionArn": arn} | (
        {"RuntimeVersionArn": version.runtime_pin} if version.runtime_pin else {}
    )


def _managed(function: Function, qualifier: str | None) -> Version:
    """Return the version of a qualifier; an alias has no runtime of its own."""
    version = function.version(qualifier or LATEST)
    if version is None:
        raise ResourceNotFound(f"Function not found: {function.arn}:{qualifier}")
    return version
