"""A function's LoggingConfig: changed, described, and as its environments get it.

AWS Lambda developer guide, "Configuring advanced logging controls for Lambda functions".
"""

from collections.abc import Mapping
from typing import Any

from hanabi.contracts.functions import JsonLogs
from hanabi.control.model import FunctionSettings
from hanabi.errors import InvalidParameterValue

TEXT, JSON = "Text", "JSON"
DEFAULT_LEVEL = "INFO"
APPLICATION_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
SYSTEM_LEVELS = ("DEBUG", "INFO", "WARN")


def change_log_settings(settings: FunctionSettings, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changed settings; what is not given stays. JSON that is asked for again has its default levels again, as recorded."""
    format = config.get("LogFormat") or settings.log_format
    group = config.get("LogGroup") or settings.log_group
    application, system = config.get("ApplicationLogLevel"), config.get("SystemLogLevel")
    if format == TEXT:
        if application or system:
            raise InvalidParameterValue(
                'LogLevel is not supported when LogFormat is set to "Text". '
                'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
            )
        return {"log_format": TEXT, "log_group": group, "application_log_level": "", "system_log_level": ""}
    asked = config.get("LogFormat") == JSON
    return {
        "log_format": JSON,
        "log_group": group,
        "application_log_level": application or (DEFAULT_LEVEL if asked else settings.application_log_level),
        "system_log_level": system or (DEFAULT_LEVEL if asked else settings.system_log_level),
    }


def describe_log_settings(settings: FunctionSettings) -> dict[str, str]:
    """Make a LoggingConfig."""
    if settings.log_format == TEXT:
        return {"LogFormat": TEXT, "LogGroup": settings.log_group}
    return {
        "LogFormat": JSON,
        "ApplicationLogLevel": settings.application_log_level,
        "SystemLogLevel": settings.system_log_level,
        "LogGroup": settings.log_group,
    }


def json_logs(settings: FunctionSettings) -> JsonLogs | None:
    """Return the levels of a function whose logs are JSON."""
    return JsonLogs(settings.application_log_level, settings.system_log_level) if settings.log_format == JSON else None


def check_log_settings(settings: FunctionSettings) -> None:
    """Raise `ValueError` for stored settings that cannot be."""
    levels = settings.application_log_level, settings.system_log_level
    known = levels == ("", "") if settings.log_format == TEXT else levels[0] in APPLICATION_LEVELS and levels[1] in SYSTEM_LEVELS
    if settings.log_format not in (TEXT, JSON) or not known:
        raise ValueError(f"has a LoggingConfig that cannot be: {settings.log_format!r}, {levels}")
