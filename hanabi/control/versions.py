"""The life of a function: created, updated, prepared, published. Pure: each function takes a function value and returns a new one."""

import uuid
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Any

from hanabi.control.arns import LATEST, LATEST_PUBLISHED, is_alias
from hanabi.control.model import CREATING, Code, Function, FunctionSettings, Version, fingerprint, new_id
from hanabi.errors import InvalidParameterValue, PreconditionFailed, ResourceConflict, ResourceNotFound


def make_latest(settings: FunctionSettings, code: Code, now_ms: int) -> Version:
    """Make the `$LATEST` of a new function: pending."""
    return Version(
        number=LATEST,
        settings=settings,
        code=code,
        modified_ms=now_ms,
        generation=_new_generation(),
        fingerprint=fingerprint(settings, code),
        revision_id=new_id(),
    )


def check_revision(given: str | None, current: str, getter: str = "GetFunction/GetAlias") -> None:
    if given and given != current:
        raise PreconditionFailed(
            f"The Revision Id provided does not match the latest Revision Id. Call the {getter} API to retrieve the latest Revision Id"
        )


def check_updatable(function: Function, revision_id: str | None) -> Function:
    """Return the function if it may be updated now."""
    check_revision(revision_id, function.latest.revision_id)
    if function.latest.update == "InProgress":
        raise ResourceConflict(f"The operation cannot be performed at this time. An update is in progress for resource: {function.arn}")
    if function.latest.state == "Pending":
        raise _wrong_state(function.latest)
    return function


def update(function: Function, now_ms: int, *, settings: FunctionSettings | None = None, code: Code | None = None) -> Function:
    """Make a new `$LATEST`, in progress. Until it is ready, invocations run the old one, if that ever worked."""
    old = function.latest
    settings, code = settings or old.settings, code or old.code
    active = old.state == "Active"
    latest = replace(
        old,
        settings=settings,
        code=code,
        modified_ms=now_ms,
        generation=_new_generation(),
        fingerprint=fingerprint(settings, code),
        revision_id=new_id(),
        state="Active" if active else "Pending",
        state_reason=None if active else CREATING,
        state_code=None if active else "Creating",
        update="InProgress",
        update_reason=CREATING,  # Lambda says so of updates too
        update_code="Creating",
        lost=False,
    )
    return replace(function, latest=latest, serving=function.serving or (old if active else None))


# --- preparing --------------------------------------------------------------------------------------------------------


def is_unfinished(function: Function) -> bool:
    return function.latest.state == "Pending" or function.latest.update == "InProgress"


def complete(runtime_arn: str | None) -> Callable[[Function], Function]:
    """Mark `$LATEST` ready, and what was published of it in advance."""
    return lambda function: _settle(function, lambda version: version.prepared(runtime_arn), serving=None)


def settle_version(number: str, generation: str, settle: Callable[[Version], Version]) -> Callable[[Function], Function]:
    """Set the outcome of one published version, if it still exists and waits."""

    def apply(function: Function) -> Function:
        version = function.versions.get(number)
        if version is None or version.generation != generation or version.state != "Pending":
            return function
        return replace(function, versions={**function.versions, number: settle(version)})

    return apply


def fail(code: str, reason: str) -> Callable[[Function], Function]:
    return lambda function: _settle(function, lambda version: version.failed(code, reason), serving=function.serving)


def lose(code: str, reason: str) -> Callable[[Function], Function]:
    """As `fail`, because the code of `$LATEST` is missing."""

    def settle(version: Version) -> Version:
        failed = version.failed(code, reason)
        return failed if failed.state == "Active" else replace(failed, lost=True)

    return lambda function: _settle(function, settle, serving=function.serving)


def apply_faults(looked_for: Set[str], faults: Mapping[str, tuple[str, str]]) -> Callable[[Function], Function]:
    """Fail versions without their code or a layer with (StateReasonCode, StateReason); make active those that have it back."""

    def settle(version: Version) -> Version:
        if looked_for.isdisjoint(version.needs):
            return version
        fault = next((_describe_fault(version, key, faults[key]) for key in version.needs if key in faults), None)
        if fault is None:
            return version.found() if version.lost else version
        if version.state == "Active" or (version.lost and (version.state_code, version.state_reason) != fault):
            return version.lose(*fault)
        return version

    def apply(function: Function) -> Function:
        latest, serving = settle(function.latest), settle(function.serving) if function.serving else None
        published = {number: settle(version) for number, version in function.versions.items()}
        changed = latest is not function.latest or serving is not function.serving
        if not changed and all(version is function.versions[number] for number, version in published.items()):
            return function
        return replace(function, latest=latest, serving=serving, versions=published)

    return apply


def _describe_fault(version: Version, key: str, fault: tuple[str, str]) -> tuple[str, str]:
    """Return (StateReasonCode, StateReason) of what is missing: of a layer, with its name."""
    layer = next((layer for layer in version.settings.layers if layer.sha256 == key and key != version.code.key), None)
    return fault if layer is None else (fault[0], f"Layer {layer.arn}: {fault[1]}")


def _settle(function: Function, settle: Callable[[Version], Version], serving: Version | None) -> Function:
    versions = {number: settle(version) if version.state == "Pending" else version for number, version in function.versions.items()}
    return replace(function, latest=settle(function.latest), serving=serving, versions=versions)


# --- publishing -------------------------------------------------------------------------------------------------------


def publishes(params: Mapping[str, Any]) -> bool:
    """Whether a creation or an update publishes a version, too."""
    return bool(params.get("Publish") or params.get("PublishTo"))


def published_by(function: Function, params: Mapping[str, Any]) -> Version:
    """Return the version that was published."""
    return function.versions[LATEST_PUBLISHED if params.get("PublishTo") else str(function.last_version)]


def publish(function: Function, description: str | None = None, *, unnumbered: bool = False) -> Function:
    """Publish `$LATEST`: under a number, or as `$LATEST.PUBLISHED`. Returns the same function if nothing changed since the last time."""
    latest, last_number = function.latest, function.last_version
    number = LATEST_PUBLISHED if unnumbered else str(last_number + 1)
    last = function.versions.get(number if unnumbered else str(last_number))
    if last is not None and last.fingerprint == latest.fingerprint:
        return function
    settled = latest.settled and not latest.settings.snap_start  # else its snapshot is made first
    version = replace(
        latest,
        number=number,
        settings=latest.settings if description is None else replace(latest.settings, description=description),
        revision_id=new_id(),
        state="Active" if settled else "Pending",
        state_reason=None if settled else CREATING,
        state_code=None if settled else "Creating",
        update="Successful" if settled else None,
        update_reason=None,
        update_code=None,
    )
    first = {number: version} if unnumbered else {}
    return replace(
        function,
        latest=replace(latest, revision_id=new_id()),
        versions={**first, **function.versions, number: version},
        last_version=last_number + (not first),
    )


def publish_settled(
    function: Function, *, sha256: str | None, revision_id: str | None, description: str | None, unnumbered: bool = False
) -> Function:
    """Publish as PublishVersion does."""
    check_updatable(function, revision_id)
    latest = function.latest
    if sha256 and sha256 != latest.code.sha256:
        raise InvalidParameterValue(
            f"CodeSHA256 ({sha256}) is different from current CodeSHA256 in $LATEST ({latest.code.sha256}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )
    if not latest.settled:
        raise _wrong_state(latest)
    return publish(function, description, unnumbered=unnumbered)


def remove_version(function: Function, number: str) -> Function:
    """Remove a version. No error when it does not exist; one that an alias points to is refused."""
    users = [alias.name for alias in function.aliases.values() if number in (alias.version, alias.other)]
    if users:
        raise ResourceConflict(f"Unable to delete version because the following aliases reference it: [{', '.join(users)}]")
    if number not in function.versions:
        return function
    return replace(
        function,
        versions={other: version for other, version in function.versions.items() if other != number},
        policies={qualifier: statements for qualifier, statements in function.policies.items() if qualifier != number},
        provisioned={qualifier: config for qualifier, config in function.provisioned.items() if qualifier != number},
        event_configs={qualifier: config for qualifier, config in function.event_configs.items() if qualifier != number},
    )


def find_version(function: Function, qualifier: str | None) -> tuple[Version, str]:
    """Return (the version of a qualifier, the ARN to show for it)."""
    if qualifier is None:
        return function.latest, function.arn
    alias = function.aliases.get(qualifier)
    version = function.version(alias.version if alias else qualifier)
    arn = f"{function.arn}:{qualifier}"
    if version is None:
        raise ResourceNotFound(f"Function not found: {arn}")
    return version, arn


def check_deletable(qualifier: str) -> None:
    if qualifier == LATEST:
        raise InvalidParameterValue("$LATEST version cannot be deleted without deleting the function.")
    if is_alias(qualifier):
        raise InvalidParameterValue("Deletion of aliases is not currently supported.")


def check_active(version: Version) -> None:
    if version.state != "Active":
        raise _wrong_state(version)


def _wrong_state(version: Version) -> ResourceConflict:
    state: Any = version.state if version.state != "Active" else version.update
    return ResourceConflict(f"The operation cannot be performed at this time. The function is currently in the following state: {state}")


def _new_generation() -> str:
    return uuid.uuid4().hex[:12]
