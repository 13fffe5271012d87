"""Function names in every form Lambda accepts."""

import pytest

from hanabi.control.arns import AccountRegion, is_alias, is_version
from hanabi.errors import ApiError, ForeignAccount, InvalidParameterValue, ResourceNotFound, ValidationError
from tests.unit.control.support import ACCOUNT, ARN, REGION

PLACE = AccountRegion(ACCOUNT, REGION)


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("f", None, ("f", None)),
        ("f", "1", ("f", "1")),
        ("f:1", None, ("f", "1")),
        ("f:live", "live", ("f", "live")),
        ("f:$LATEST", None, ("f", "$LATEST")),
        (f"{ACCOUNT}:function:f", None, ("f", None)),
        (f"{ACCOUNT}:function:f:live", None, ("f", "live")),
        (f"{ACCOUNT}:f", None, ("f", None)),
        (f"{REGION}:{ACCOUNT}:function:f", None, ("f", None)),
        ("function:f", None, ("f", None)),
        (f"{ARN}:f", None, ("f", None)),
        (f"{ARN}:f", "2", ("f", "2")),
        (f"arn:aws:lambda:{REGION}:{ACCOUNT}:f", None, ("f", None)),
        (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function", None, ("function", None)),  # as recorded
        (f"{ARN}:f:live", None, ("f", "live")),
    ],
)
def test_a_name_is_understood(text: str, given: str | None, expected: tuple[str, str | None]) -> None:
    assert PLACE.parse(text, given) == expected


@pytest.mark.parametrize(
    ("text", "given", "error", "message"),
    [
        ("f:1", "2", InvalidParameterValue, "The derived qualifier from the function name does not match the specified qualifier."),
        (f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:f", None, ResourceNotFound,
         "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"),
        ("arn:aws:lambda:us-east-1:111111111111:function:f", "7", ForeignAccount,
         "The resource arn:aws:lambda:us-east-1:111111111111:function:f:7 is of another account"),
        (f"arn:aws-cn:lambda:us-east-1:{ACCOUNT}:function:f", None, ResourceNotFound, "Function not found: arn:aws-cn:"),
        ("arn:aws:lambda:f", None, ResourceNotFound, "Function not found: arn:aws:lambda:f"),
        ("a:b:c:d", None, ValidationError, "1 validation error detected: Value 'a:b:c:d' at 'functionName'"),
        ("arn:aws:s3:::x", None, ValidationError, "1 validation error detected"),
    ],
)  # fmt: skip
def test_a_name_is_refused(text: str, given: str | None, error: type[ApiError], message: str) -> None:
    with pytest.raises(error) as caught:
        PLACE.parse(text, given)
    assert caught.value.message.startswith(message)


def test_new_names() -> None:
    assert PLACE.parse_new(f"{ARN}:new-one_1") == "new-one_1"
    with pytest.raises(InvalidParameterValue, match="less than or equal to 64"):
        PLACE.parse_new("a" * 65)
    for text in ("f:live", "a.b", f"{ARN}:f:1"):
        with pytest.raises(ValidationError):
            PLACE.parse_new(text)


def test_tagged_resources() -> None:
    assert PLACE.parse_resource(f"{ARN}:f") == "f"
    with pytest.raises(InvalidParameterValue, match="Tags on function aliases and versions are not supported"):
        PLACE.parse_resource(f"{ARN}:f:live")
    for text in ("f", "arn:aws:something", f"arn:aws:lambda:{REGION}:{ACCOUNT}:foobar:f"):
        with pytest.raises(ValidationError, match="at 'resource'"):
            PLACE.parse_resource(text)


def test_partitions() -> None:
    assert AccountRegion(ACCOUNT, "cn-north-1").arn("f", "1") == f"arn:aws-cn:lambda:cn-north-1:{ACCOUNT}:function:f:1"
    assert AccountRegion(ACCOUNT, "us-gov-west-1").arn("f").startswith("arn:aws-us-gov:")


def test_qualifiers() -> None:
    assert is_version("12") and not is_version("$LATEST") and not is_version("²")
    assert is_alias("v1") and is_alias("1a") and not is_alias("2024") and not is_alias("$LATEST")
