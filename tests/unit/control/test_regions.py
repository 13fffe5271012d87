"""The regions that requests may be signed for."""

import pytest

from hanabi.control.arns import AccountRegion
from hanabi.control.regions import looks_like_region, partition_of, regions


def test_every_region_of_every_partition_is_known_and_no_pseudo_region() -> None:
    known = regions()
    assert {"us-east-1", "eu-central-2", "cn-north-1", "us-gov-west-1", "us-iso-east-1"} <= known.keys()
    assert 40 <= len(known) < 200 and "aws-global" not in known and all(map(looks_like_region, known))


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-west-1", "aws"),
        ("cn-northwest-1", "aws-cn"),
        ("us-gov-east-1", "aws-us-gov"),
        ("us-isob-east-1", "aws-iso-b"),
        ("xx-no-1", "aws"),
    ],
)
def test_a_region_has_the_partition_of_its_arns(region: str, partition: str) -> None:
    assert partition_of(region) == partition
    assert AccountRegion("000000000000", region).arn("f") == f"arn:{partition}:lambda:{region}:000000000000:function:f"


@pytest.mark.parametrize("name", ["", "us-east", "us-east-1a", "us-east-11", "US-EAST-1", "../etc-1", "us-east-1/x", "iam", "us-east-١"])
def test_what_is_no_region_does_not_look_like_one(name: str) -> None:
    assert not looks_like_region(name) and name not in regions()


@pytest.mark.parametrize(("account", "region"), [("1", "us-east-1"), ("00000000000x", "us-east-1"), ("000000000000", "nowhere"), ("", "")])
def test_a_document_that_names_no_place_is_refused(account: str, region: str) -> None:
    with pytest.raises(ValueError, match="no account and region"):
        AccountRegion(account, region).check()
