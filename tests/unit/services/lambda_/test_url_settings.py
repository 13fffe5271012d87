"""What function URL configurations may have, as boto3 sees it: words as recorded on AWS, bounds as in the API's model."""

from typing import Any

import pytest

from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails

PATTERN = r"Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"
NO_FUNCTION = ("ResourceNotFoundException", 404, "Function does not exist")
NO_URL = ("ResourceNotFoundException", 404, "The resource you requested does not exist.")


@pytest.fixture(scope="module", autouse=True)
def function(live: Live) -> None:
    live.create("addressed", Publish=True)
    live.client.create_alias(FunctionName="addressed", Name="live", FunctionVersion="1")


@pytest.mark.parametrize("operation", ["create", "get", "delete", "update"])
def test_names_and_qualifiers(live: Live, operation: str) -> None:
    call = getattr(live.client, f"{operation}_function_url_config")
    missing = NO_FUNCTION if operation in ("create", "update") else NO_URL
    given: dict[str, Any] = {"AuthType": "NONE"} if operation in ("create", "update") else {}
    for name in ("nowhere", f"{ARN}:nowhere"):
        fails(*missing, call, FunctionName=name, **given)
    fails(*missing, call, FunctionName="addressed", Qualifier="none", **given)
    for qualifier in ("1", "2", "$LATEST"):
        message = f"1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy constraint: {PATTERN}"
        fails("ValidationException", 400, message, call, FunctionName="addressed", Qualifier=qualifier, **given)
    fails("InvalidParameterValueException", 400, "The derived qualifier from the function name does not match the specified qualifier.",
          call, FunctionName="addressed:other", Qualifier="live", **given)  # fmt: skip
    if operation != "create":
        fails(*NO_URL, call, FunctionName="addressed", **given)


@pytest.mark.parametrize(
    ("cors", "where"),
    [
        ({"MaxAge": -1}, "cors.maxAge"),
        ({"MaxAge": 86_401}, "cors.maxAge"),
        ({"AllowOrigins": ["*"] * 101}, "cors.allowOrigins"),
        ({"AllowOrigins": ["https://" + "x" * 253]}, "cors.allowOrigins"),
        ({"AllowMethods": ["GET"] * 7}, "cors.allowMethods"),
        ({"AllowMethods": ["OPTIONS"]}, "cors.allowMethods"),
        ({"AllowHeaders": ["x"] * 101}, "cors.allowHeaders"),
        ({"ExposeHeaders": ["x" * 1_025]}, "cors.exposeHeaders"),
    ],
)
def test_bounds_of_cors(live: Live, cors: dict[str, Any], where: str) -> None:
    fails("ValidationException", 400, f"at '{where}' failed to satisfy constraint: Member must",
          live.client.create_function_url_config, FunctionName="addressed", AuthType="NONE", Cors=cors)  # fmt: skip


def test_cors_are_kept_replaced_and_removed(live: Live) -> None:
    cors = {"AllowCredentials": True, "AllowMethods": ["GET", "*"], "AllowOrigins": ["https://a.example"], "MaxAge": 86_400}
    client, name = live.client, "addressed:live"
    made = client.create_function_url_config(FunctionName=name, AuthType="AWS_IAM", Cors=cors, InvokeMode="BUFFERED")
    assert made["Cors"] == cors and made["InvokeMode"] == "BUFFERED" and "LastModifiedTime" not in made
    assert client.update_function_url_config(FunctionName=name, AuthType="NONE")["Cors"] == cors
    assert client.update_function_url_config(FunctionName=name, Cors={"MaxAge": 0})["Cors"] == {"MaxAge": 0}
    assert "Cors" not in client.update_function_url_config(FunctionName=name, Cors={})
    assert [url["FunctionArn"] for url in client.list_function_url_configs(FunctionName="addressed")["FunctionUrlConfigs"]] == [
        f"{ARN}:{name}"
    ]
    client.delete_function_url_config(FunctionName=name)
