"""`--function-endpoint`: what SDKs in functions are told."""

import pytest

from hanabi.node.config import SettingsError, load_settings
from hanabi.node.function_endpoints import endpoint_url, endpoint_variables

SERVICES = ("lambda", "logs")


@pytest.mark.parametrize(
    ("choice", "variables", "url"),
    [
        ("served", ["AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"], ""),
        ("hanabi", ["AWS_ENDPOINT_URL"], ""),
        ("none", [], ""),
        ("http://10.0.0.1:4566", ["AWS_ENDPOINT_URL"], "http://10.0.0.1:4566"),
    ],
)
def test_each_choice(choice: str, variables: list[str], url: str) -> None:
    assert load_settings({"function_endpoint": choice}, {}).function_endpoint == choice
    assert endpoint_variables(choice, SERVICES) == variables
    assert endpoint_url(choice) == url


@pytest.mark.parametrize("choice", ["", "all", "ftp://host", "http://", "http://host/a b", "http://a\nb"])
def test_what_is_none_of_them_is_refused(choice: str) -> None:
    with pytest.raises(SettingsError, match="--function-endpoint: .*one of served, hanabi, none, or a URL"):
        load_settings({"function_endpoint": choice}, {})
