"""LoggingConfig: partial changes, defaults, refusals."""

from dataclasses import replace
from typing import Any

import pytest

from hanabi.contracts.functions import JsonLogs
from hanabi.control.log_settings import change_log_settings, check_log_settings, describe_log_settings, json_logs
from hanabi.control.model import FunctionSettings
from hanabi.errors import InvalidParameterValue

TEXT = FunctionSettings(runtime="python3.13", handler="a.b", role="r", log_group="/aws/lambda/f")
ALL = {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG", "SystemLogLevel": "WARN", "LogGroup": "mine"}
BOTH_DEFAULT = {"ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}


def change(settings: FunctionSettings, **config: str) -> FunctionSettings:
    return replace(settings, **change_log_settings(settings, config))


def test_text_is_the_default() -> None:
    assert describe_log_settings(TEXT) == {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"}
    assert json_logs(TEXT) is None
    check_log_settings(TEXT)


@pytest.mark.parametrize(
    ("config", "described"),
    [
        ({"LogFormat": "JSON"}, {"LogFormat": "JSON", **BOTH_DEFAULT, "LogGroup": "/aws/lambda/f"}),
        (ALL, ALL),
        ({"LogFormat": "JSON", "SystemLogLevel": "DEBUG"}, {**ALL, **BOTH_DEFAULT, "SystemLogLevel": "DEBUG", "LogGroup": "/aws/lambda/f"}),
        ({"LogGroup": "mine"}, {"LogFormat": "Text", "LogGroup": "mine"}),
    ],
)
def test_changes(config: dict[str, str], described: dict[str, str]) -> None:
    changed = change(TEXT, **config)
    assert describe_log_settings(changed) == described
    check_log_settings(changed)


def test_what_is_not_given_stays() -> None:
    changed = change(change(TEXT, **ALL), ApplicationLogLevel="TRACE")
    assert describe_log_settings(changed) == {**ALL, "ApplicationLogLevel": "TRACE"}
    assert json_logs(changed) == JsonLogs("TRACE", "WARN")
    assert describe_log_settings(change(changed, LogFormat="JSON")) == {**ALL, **BOTH_DEFAULT}
    assert describe_log_settings(change(changed, LogFormat="Text")) == {"LogFormat": "Text", "LogGroup": "mine"}


def test_levels_need_json() -> None:
    with pytest.raises(InvalidParameterValue, match='LogLevel is not supported when LogFormat is set to "Text"'):
        change(TEXT, SystemLogLevel="INFO")
    with pytest.raises(InvalidParameterValue, match="LogLevel is not supported"):
        change(change(TEXT, **ALL), LogFormat="Text", ApplicationLogLevel="INFO")


@pytest.mark.parametrize("stored", [{"log_format": "XML"}, {"log_format": "JSON"}, {"system_log_level": "INFO"}])
def test_stored_settings_that_cannot_be(stored: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="LoggingConfig that cannot be"):
        check_log_settings(replace(TEXT, **stored))
