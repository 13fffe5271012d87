"""Limits, defaults and refusals of what may be set of a function."""

from typing import Any

import pytest

from hanabi.control.settings import ARCHITECTURES, change_settings, make_settings
from hanabi.errors import ApiError, InvalidParameterValue, ValidationError
from tests.unit.control.support import create_params


def test_defaults() -> None:
    settings = make_settings("f", create_params())
    assert (settings.memory_mb, settings.timeout_s, settings.tmp_mb, settings.environment) == (128, 3, 512, None)
    assert (settings.description, settings.log_group) == ("", "/aws/lambda/f")


def test_what_is_not_given_stays() -> None:
    settings = make_settings("f", create_params(MemorySize=256, Environment={"Variables": {"A": "1"}}))
    changed = change_settings(settings, {"Timeout": 900, "LoggingConfig": {"LogGroup": "mine"}})
    assert (changed.memory_mb, changed.timeout_s, changed.environment, changed.log_group) == (256, 900, {"A": "1"}, "mine")
    assert change_settings(changed, {"Environment": {}}).environment == {}


def test_tracing_dead_letters_and_key_are_kept_until_they_are_changed() -> None:
    queue, key = "arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:kms:us-east-1:000000000000:key/k"
    given: dict[str, Any] = {"TracingConfig": {"Mode": "Active"}, "DeadLetterConfig": {"TargetArn": queue}, "KMSKeyArn": key}
    settings = make_settings("f", create_params(**given))
    assert (settings.traced, settings.dead_letters, settings.key) == (True, queue, key)
    assert change_settings(settings, {"Timeout": 4}).key == key
    settings = change_settings(settings, {"TracingConfig": {"Mode": "PassThrough"}, "DeadLetterConfig": {"TargetArn": ""}, "KMSKeyArn": ""})
    assert (settings.traced, settings.dead_letters, settings.key) == (False, "", "")


@pytest.mark.parametrize(
    "harmless",
    [
        {"VpcConfig": {}},
        {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}},
        {"TracingConfig": {"Mode": "PassThrough"}},
        {"SnapStart": {"ApplyOn": "None"}},
        {"PackageType": "Zip"},
        {"Architectures": ARCHITECTURES},
        {"Layers": []},
        {"DeadLetterConfig": {}},
        {"KMSKeyArn": ""},
        {"FileSystemConfigs": []},
        {"ImageConfig": {}},
        {"LoggingConfig": {"LogFormat": "Text"}},
    ],
)
def test_settings_without_effect_are_accepted(harmless: dict[str, Any]) -> None:
    make_settings("f", create_params(**harmless))


@pytest.mark.parametrize(
    "refused",
    [
        {"CapacityProviderConfig": {}},
        {"DurableConfig": {}},
    ],
)
def test_settings_that_would_be_ignored_are_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterValue, match="is not supported by Hanabi yet"):
        make_settings("f", create_params(**refused))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"MemorySize": 10_241}, ValidationError, "'MemorySize' value failed to satisfy constraint: Member must have value less than"),
        ({"MemorySize": 127}, ValidationError, "greater than or equal to 128"),
        ({"Timeout": 901}, ValidationError, "at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"),
        ({"Timeout": 0}, ValidationError, "greater than or equal to 1"),
        ({"EphemeralStorage": {"Size": 511}}, ValidationError, "at 'ephemeralStorage.size'"),
        ({"EphemeralStorage": {"Size": 10_241}}, ValidationError, "less than or equal to 10240"),
        ({"Runtime": "cobol"}, InvalidParameterValue, "Value cobol at 'runtime' failed to satisfy constraint"),
        ({"Runtime": None}, InvalidParameterValue, "Runtime and Handler are mandatory parameters"),
        ({"Handler": None}, InvalidParameterValue, "Runtime and Handler are mandatory parameters"),
        ({"Environment": {"Variables": {"AWS_REGION": "x", "_HANDLER": "y", "MINE": "z"}}}, InvalidParameterValue,
         "Reserved keys used in this request: AWS_REGION, _HANDLER"),
        ({"Environment": {"Variables": {"A": "x\0y"}}}, InvalidParameterValue, "at 'environment.variables.A'"),
        ({"Environment": {"Variables": {"A": "\ud800"}}}, InvalidParameterValue, "at 'environment.variables.A'"),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:kinesis:us-east-1:000000000000:s"}}, InvalidParameterValue, "is neither an"),
        ({"LoggingConfig": {"ApplicationLogLevel": "INFO"}}, InvalidParameterValue, 'LogLevel is not supported when LogFormat is set'),
    ],
)  # fmt: skip
def test_bad_values_are_refused(changes: dict[str, Any], error: type[ApiError], message: str) -> None:
    with pytest.raises(error) as caught:
        make_settings("f", create_params(**changes))
    assert message in caught.value.message


def test_another_architecture_than_the_hosts_is_refused() -> None:
    ours, theirs = ("x86_64", "arm64") if ARCHITECTURES == ["x86_64"] else ("arm64", "x86_64")
    with pytest.raises(InvalidParameterValue) as caught:
        make_settings("f", create_params(Architectures=[theirs]))
    assert caught.value.message.startswith(f'Architectures ["{theirs}"] cannot run here: this host is {ours}, and nothing is emulated.')


def test_the_environment_is_measured_as_json() -> None:
    fits = {"LARGE": "x" * (4096 - len('{"LARGE":""}'))}
    make_settings("f", create_params(Environment={"Variables": fits}))
    over = {"LARGE": fits["LARGE"] + "x"}
    with pytest.raises(InvalidParameterValue) as caught:
        make_settings("f", create_params(Environment={"Variables": over}))
    assert caught.value.message.endswith('exceeded the 4KB limit. String measured: {"LARGE":"' + over["LARGE"] + '"}')
