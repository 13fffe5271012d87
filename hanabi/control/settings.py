"""Settings of a function: limits, defaults, and a clear refusal of those that would have no effect here.

A role is any well-formed ARN here. That it exists, and that the caller may pass it, was checked before.
"""

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hanabi.control.containers import IMAGE, ZIP, check_image_config, check_package
from hanabi.control.log_settings import change_log_settings
from hanabi.control.model import FunctionSettings
from hanabi.control.tenancy import read_tenancy, refuse_with_tenancy
from hanabi.errors import InvalidParameterValue, ValidationError
from hanabi.images.runtimes.names import refusal
from hanabi.quotas import ENVIRONMENT_BYTES, MEMORY_MAX_MB, MEMORY_MIN_MB, SNAP_START_TMP_MAX_MB, TIMEOUT_MAX_S, TMP_MAX_MB, TMP_MIN_MB

# Java 11, Python 3.12 and .NET 8, each and later. Of a container image AWS learns at its init only whether it can be restored.
SNAP_START_RUNTIMES = frozenset(
    {
        *("python3.12", "python3.13", "python3.14", "python3.15"),
        *("java11", "java17", "java21", "java25"),
        *("dotnet8", "dotnet10"),
    }
)
ARCHITECTURES = ["arm64" if platform.machine() == "aarch64" else "x86_64"]  # the host's: nothing is emulated

# Lambda developer guide, "Reserved environment variables"
RESERVED_VARIABLES = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)

# Members that only these values leave without effect; any other one is refused.
_ONLY: Mapping[str, Callable[[Any], bool]] = {
    "CapacityProviderConfig": lambda value: False,
    "DurableConfig": lambda value: False,
    "RuntimeConfig": lambda value: False,
    "AcceleratorConfig": lambda value: False,
}


def refuse_unsupported(params: Mapping[str, Any]) -> None:
    """Raise for the first setting that Hanabi could only store and ignore."""
    architectures = params.get("Architectures")
    if architectures and architectures != ARCHITECTURES:
        raise InvalidParameterValue(
            f"Architectures {_say(architectures)} cannot run here: this host is {ARCHITECTURES[0]}, and nothing is emulated. "
            f'Use Architectures ["{ARCHITECTURES[0]}"], or run Hanabi on a host of the other architecture.'
        )
    for member, value in params.items():
        harmless = _ONLY.get(member)
        if harmless is not None and value is not None and not harmless(value):
            raise InvalidParameterValue(f"{member} is not supported by Hanabi yet: {_say(value)}")


def make_settings(name: str, params: Mapping[str, Any]) -> FunctionSettings:
    """Make the settings of a new function. `params` are CreateFunction's."""
    package = params.get("PackageType") or ZIP
    check_package(params, package)
    refuse_unsupported(params)
    if package == ZIP and (not params.get("Runtime") or not params.get("Handler")):
        raise InvalidParameterValue("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
    settings = FunctionSettings(
        runtime=params.get("Runtime") or "",
        handler=params.get("Handler") or "",
        role=params["Role"],
        log_group=f"/aws/lambda/{name}",
        package=package,
        tenancy=read_tenancy(params),
    )
    return change_settings(settings, params)


def change_settings(settings: FunctionSettings, params: Mapping[str, Any]) -> FunctionSettings:
    """Change settings: given ones are replaced, others stay. `params` are UpdateFunctionConfiguration's."""
    check_package(params, settings.package)
    refuse_unsupported(params)
    changes: dict[str, Any] = {}
    if params.get("Runtime"):
        changes["runtime"] = _check_runtime(params["Runtime"])
    if params.get("Handler"):
        changes["handler"] = _check_text(params["Handler"], "handler")
    if params.get("Role"):
        changes["role"] = params["Role"]
    if "Description" in params:
        changes["description"] = _check_text(params["Description"], "description")
    if "MemorySize" in params:
        changes["memory_mb"] = _check_memory(params["MemorySize"])
    if "Timeout" in params:
        changes["timeout_s"] = _check_range(params["Timeout"], "timeout", 1, TIMEOUT_MAX_S)
    if "EphemeralStorage" in params:
        changes["tmp_mb"] = _check_range(params["EphemeralStorage"]["Size"], "ephemeralStorage.size", TMP_MIN_MB, TMP_MAX_MB)
    if "Environment" in params:
        changes["environment"] = _check_environment(params["Environment"].get("Variables") or {})
    if settings.package == IMAGE and "ImageConfig" in params:
        changes["image_config"] = check_image_config(params["ImageConfig"] or {})
    if "SnapStart" in params:
        changes["snap_start"] = (params["SnapStart"] or {}).get("ApplyOn") == "PublishedVersions"
    if "TracingConfig" in params:
        changes["traced"] = (params["TracingConfig"] or {}).get("Mode") == "Active"
    if "DeadLetterConfig" in params:
        changes["dead_letters"] = _check_dead_letters((params["DeadLetterConfig"] or {}).get("TargetArn") or "")
    if "KMSKeyArn" in params:
        changes["key"] = params["KMSKeyArn"] or ""
    if "LoggingConfig" in params:
        changes |= change_log_settings(settings, params["LoggingConfig"] or {})
    return check_snap_start(replace(settings, **changes))


def check_snap_start(settings: FunctionSettings) -> FunctionSettings:
    """AWS Lambda developer guide, "Improving startup performance with Lambda SnapStart": supported features and limitations."""
    if settings.snap_start:
        refuse_with_tenancy(settings, "SnapStart")
        if settings.package != IMAGE and settings.runtime not in SNAP_START_RUNTIMES:
            raise InvalidParameterValue(f"{settings.runtime} is not supported for SnapStart enabled functions.")
        if settings.tmp_mb > SNAP_START_TMP_MAX_MB:
            raise InvalidParameterValue(f"SnapStart does not support ephemeral storage of more than {SNAP_START_TMP_MAX_MB} MB.")
    return settings


def _check_runtime(runtime: str) -> str:
    """Check that Lambda has a runtime. Whether it can run here is asked separately, as that takes a while."""
    if message := refusal(runtime):
        raise InvalidParameterValue(message)
    return runtime


def _check_memory(memory_mb: int) -> int:
    """Check MemorySize. The model allows what only functions of capacity providers may have: AWS says so as of an account's lower limit."""
    if memory_mb > MEMORY_MAX_MB:
        rule = f"Member must have value less than or equal to {MEMORY_MAX_MB}"
        raise ValidationError(f"'MemorySize' value failed to satisfy constraint: {rule}")
    return _check_range(memory_mb, "memorySize", MEMORY_MIN_MB, MEMORY_MAX_MB)


def _check_range(value: int, member: str, least: int, most: int) -> int:
    for fits, rule in ((value <= most, f"less than or equal to {most}"), (value >= least, f"greater than or equal to {least}")):
        if not fits:
            raise ValidationError(
                f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must have value {rule}"
            )
    return value


def _check_dead_letters(arn: str) -> str:
    """Check the target of dead letters: an SQS queue or an SNS topic. Whether it is there is seen when a letter is sent."""
    if arn and arn.split(":")[2] not in ("sqs", "sns"):
        raise InvalidParameterValue(f"The dead letter target {arn} is neither an Amazon SQS queue nor an Amazon SNS topic.")
    return arn


def _check_environment(variables: Mapping[str, str]) -> dict[str, str]:
    reserved = sorted(RESERVED_VARIABLES & variables.keys())
    if reserved:
        raise InvalidParameterValue(
            "Lambda was unable to configure your environment variables because the environment variables you have provided contains "
            f"reserved keys that are currently not supported for modification. Reserved keys used in this request: {', '.join(reserved)}"
        )
    for name, value in variables.items():
        _check_text(value, f"environment.variables.{name}")
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > ENVIRONMENT_BYTES:
        raise InvalidParameterValue(
            "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded "
            f"the 4KB limit. String measured: {measured}"
        )
    return dict(variables)


def _check_text(text: str, member: str) -> str:
    """Check text for a process's environment: no NUL, no lone surrogate."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidParameterValue(f"Value at '{member}' has characters that an environment variable cannot hold")
    return text


def _say(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 200 else f"{text[:200]}..."
