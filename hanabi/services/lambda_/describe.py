"""Functions, versions, aliases and URLs as Lambda's API describes them."""

from datetime import UTC, datetime
from typing import Any

from hanabi.control.containers import ZIP
from hanabi.control.log_settings import describe_log_settings
from hanabi.control.model import Alias, Function, Url, Version
from hanabi.control.settings import ARCHITECTURES

# Members of a FunctionConfiguration that lists of them do not have.
_STATE = frozenset(
    {
        "State",
        "StateReason",
        "StateReasonCode",
        "LastUpdateStatus",
        "LastUpdateStatusReason",
        "LastUpdateStatusReasonCode",
        "RuntimeVersionConfig",
    }
)


def describe_version(function: Function, version: Version, arn: str) -> dict[str, Any]:
    """Make a FunctionConfiguration."""
    settings = version.settings
    configuration: dict[str, Any] = {
        "FunctionName": function.name,
        "FunctionArn": arn,
        "Role": settings.role,
        "CodeSize": version.code.size,
        "Description": settings.description,
        "Timeout": settings.timeout_s,
        "MemorySize": settings.memory_mb,
        "LastModified": describe_time(version.modified_ms),
        "CodeSha256": version.code.sha256,
        "Version": version.number,
        "TracingConfig": {"Mode": "Active" if settings.traced else "PassThrough"},
        "RevisionId": version.revision_id,
        "PackageType": settings.package,
        "Architectures": ARCHITECTURES,
        "EphemeralStorage": {"Size": settings.tmp_mb},
        "SnapStart": {
            "ApplyOn": "PublishedVersions" if settings.snap_start else "None",
            "OptimizationStatus": "On" if version.snapshot else "Off",
        },
        "LoggingConfig": describe_log_settings(settings),
        "State": version.state,
    }
    if settings.package == ZIP:
        configuration |= {"Runtime": settings.runtime, "Handler": settings.handler}
    if settings.tenancy:
        configuration["TenancyConfig"] = {"TenantIsolationMode": settings.tenancy}
    if settings.image_config is not None:
        configuration["ImageConfigResponse"] = {"ImageConfig": dict(settings.image_config)}
    if settings.layers:
        configuration["Layers"] = [{"Arn": layer.arn, "CodeSize": layer.size} for layer in settings.layers]
    if settings.environment is not None:
        configuration["Environment"] = {"Variables": dict(settings.environment)}
    if settings.dead_letters:
        configuration["DeadLetterConfig"] = {"TargetArn": settings.dead_letters}
    if settings.vpc is not None:
        configuration["VpcConfig"] = dict(settings.vpc)
    if settings.file_systems:
        configuration["FileSystemConfigs"] = [{"Arn": arn, "LocalMountPath": path} for path, arn in settings.file_systems.items()]
    if settings.key:
        configuration["KMSKeyArn"] = settings.key
    optional = {
        "SigningProfileVersionArn": version.code.signing_profile or None,
        "SigningJobArn": version.code.signing_job or None,
        "StateReason": version.state_reason,
        "StateReasonCode": version.state_code,
        "LastUpdateStatus": version.update,
        "LastUpdateStatusReason": version.update_reason,
        "LastUpdateStatusReasonCode": version.update_code,
        "RuntimeVersionConfig": {"RuntimeVersionArn": version.runtime_arn} if version.runtime_arn else None,
    }
    return configuration | {member: value for member, value in optional.items() if value is not None}


def describe_listed(function: Function, version: Version, arn: str) -> dict[str, Any]:
    """As `describe_version`, but without its state."""
    return {member: value for member, value in describe_version(function, version, arn).items() if member not in _STATE}


def describe_alias(function: Function, alias: Alias) -> dict[str, Any]:
    """Make an AliasConfiguration."""
    description: dict[str, Any] = {
        "AliasArn": f"{function.arn}:{alias.name}",
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }
    if alias.other is not None:
        description["RoutingConfig"] = {"AdditionalVersionWeights": {alias.other: alias.weight}}
    return description


def describe_url(function: Function, url: Url, address: str) -> dict[str, Any]:
    """Make a FunctionUrlConfig. It names an InvokeMode that was given: answers to a question name the default, too."""
    description: dict[str, Any] = {
        "FunctionUrl": address,
        "FunctionArn": f"{function.arn}:{url.qualifier}" if url.qualifier else function.arn,
        "AuthType": url.auth_type,
        "CreationTime": _precise(url.created_ms),
        "LastModifiedTime": _precise(url.modified_ms),
    }
    if url.invoke_mode is not None:
        description["InvokeMode"] = url.invoke_mode
    return description | ({"Cors": dict(url.cors)} if url.cors else {})


def describe_time(ms: int) -> str:
    """2026-11-24T10:00:00.000+0000"""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}+0000"


def _precise(ms: int) -> str:
    """2026-11-24T10:00:00.000000Z"""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}000Z"
