"""Layer names and ARNs."""

import pytest

from hanabi.control.arns import AccountRegion
from hanabi.control.layers.layer_names import LayerName, check_number, parse_arn, parse_layer
from hanabi.errors import InvalidParameterValue

HERE = AccountRegion("000000000000", "us-east-1")


def test_a_name_is_of_this_place() -> None:
    name = parse_layer("tools", HERE)
    assert name == LayerName("aws", "us-east-1", "000000000000", "tools")
    assert name.is_in(HERE) and name.version(3).arn == "arn:aws:lambda:us-east-1:000000000000:layer:tools:3"


def test_an_arn_is_of_its_own() -> None:
    name = parse_arn("arn:aws-cn:lambda:cn-north-1:123456789012:layer:theirs:7")
    assert (name.partition, name.region, name.account, name.name, name.number) == ("aws-cn", "cn-north-1", "123456789012", "theirs", 7)
    assert not name.is_in(HERE)
    assert (
        parse_layer("arn:aws:lambda:us-east-1:123456789012:layer:theirs", HERE).arn == "arn:aws:lambda:us-east-1:123456789012:layer:theirs"
    )


@pytest.mark.parametrize("text", ["arn:aws:lambda:::awslayer:AmazonLinux1803", "arn:aws:lambda:us-east-1:1:layer:a:1", "a:b"])
def test_other_arns_are_no_layers(text: str) -> None:
    with pytest.raises(InvalidParameterValue, match="does not exist"):
        parse_arn(text)


def test_numbers_begin_at_one() -> None:
    assert check_number(1) == 1
    with pytest.raises(InvalidParameterValue, match="Layer Version Cannot be less than 1"):
        check_number(0)
