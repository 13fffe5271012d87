"""The regions that AWS has, by its partitions, as botocore lists them. A request is signed for one of these."""

import functools
import re

import botocore.loaders

_SHAPE = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d", re.ASCII)  # of a region's name: pseudo-regions such as aws-global have no number


@functools.cache
def regions() -> dict[str, str]:
    """Return the partition of each region: {"us-east-1": "aws", "cn-north-1": "aws-cn", ...}."""
    partitions = botocore.loaders.Loader().load_data("partitions")["partitions"]
    return {region: str(each["id"]) for each in partitions for region in each["regions"] if looks_like_region(region)}


def looks_like_region(name: str) -> bool:
    return _SHAPE.fullmatch(name) is not None


def partition_of(region: str) -> str:
    """Return a region's partition; that of an unknown one is "aws"."""
    return regions().get(region, "aws")
