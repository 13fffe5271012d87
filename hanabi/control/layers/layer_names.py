"""Layer names and ARNs in every form that Lambda accepts."""

import re
from typing import NamedTuple

from hanabi.control.arns import AccountRegion
from hanabi.errors import InvalidParameterValue

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-zA-Z-]*):lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:(?P<name>[a-zA-Z0-9_-]+)(?::(?P<number>\d{1,18}))?",
    re.ASCII,
)


class LayerName(NamedTuple):
    """A layer, or one version of it."""

    partition: str
    region: str
    account: str
    name: str
    number: int | None = None

    @property
    def arn(self) -> str:
        arn = f"arn:{self.partition}:lambda:{self.region}:{self.account}:layer:{self.name}"
        return arn if self.number is None else f"{arn}:{self.number}"

    def version(self, number: int) -> "LayerName":
        return self._replace(number=number)

    def is_in(self, place: AccountRegion) -> bool:
        """Whether it is of this partition, account and region."""
        return (self.partition, self.account, self.region) == (place.partition, place.account, place.region)


def parse_layer(text: str, place: AccountRegion) -> LayerName:
    """Parse a layer's name or ARN, without a version."""
    if ":" not in text:
        return LayerName(place.partition, place.region, place.account, text)
    return parse_arn(text)


def parse_arn(text: str) -> LayerName:
    """Parse the ARN of a layer or a layer version, which the API's model has checked."""
    match = _ARN.fullmatch(text)
    if match is None:
        raise InvalidParameterValue(f"Layer version {text} does not exist.")
    number = match["number"]
    return LayerName(match["partition"], match["region"], match["account"], match["name"], None if number is None else int(number))


def check_number(number: int) -> int:
    if number < 1:
        raise InvalidParameterValue("Layer Version Cannot be less than 1")
    return number
