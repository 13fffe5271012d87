"""Function names in every form that Lambda accepts, and ARNs."""

import re
from dataclasses import dataclass

from hanabi.control.regions import looks_like_region, partition_of
from hanabi.errors import ForeignAccount, InvalidParameterValue, ResourceNotFound, ValidationError
from hanabi.quotas import FUNCTION_NAME_CHARS

LATEST = "$LATEST"
LATEST_PUBLISHED = "$LATEST.PUBLISHED"  # a published version that is published again and again

_FUNCTION = re.compile(
    r"(?:arn:(?P<partition>aws[a-zA-Z-]*):lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?"
    r"(?P<kind>function:)?"
    r"(?P<name>[a-zA-Z0-9_.-]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9_-]+))?",
    re.ASCII,
)
_FUNCTION_ARN = re.compile(r"arn:aws[a-zA-Z-]*:lambda:[a-z0-9-]+:\d{12}:function:[a-zA-Z0-9_-]+(?::(?:\$LATEST|[a-zA-Z0-9_-]+))?", re.ASCII)
_NAME = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_ALIAS = re.compile(r"(?![0-9]+\Z)[a-zA-Z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class AccountRegion:
    """An account and a region of it: what has functions, layers and logs of its own."""

    account: str
    region: str

    @property
    def partition(self) -> str:
        return partition_of(self.region)

    @property
    def prefix(self) -> str:
        """What precedes the keys of its documents in the store."""
        return f"{self.account}/{self.region}/"

    def check(self) -> "AccountRegion":
        """Raise `ValueError` for what can be no account and region."""
        if not (is_account(self.account) and looks_like_region(self.region)):
            raise ValueError(f"is of no account and region that can be: {self.account!r}, {self.region!r}")
        return self

    def arn(self, name: str, qualifier: str | None = None) -> str:
        arn = f"arn:{self.partition}:lambda:{self.region}:{self.account}:function:{name}"
        return f"{arn}:{qualifier}" if qualifier else arn

    def parse(self, text: str, qualifier: str | None = None) -> tuple[str, str | None]:
        """Return (bare name, qualifier) of a name, partial or full ARN with its `Qualifier` parameter.

        One of another partition or region, or an ARN without one of them, is not found here; `function:` may be left out. Raises
        `ForeignAccount` for another account's.
        """
        if ":" not in text:
            return text, qualifier
        match = _FUNCTION.fullmatch(text)
        if match is None:
            raise ValidationError(
                f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: "
                "Member must be a function name, a partial ARN or an ARN"
            )
        name, own = match["name"], match["qualifier"]
        if match["partition"] and (match["partition"] != self.partition or not (match["region"] and match["account"])):
            raise ResourceNotFound(f"Function not found: {text}")
        if match["region"] and match["region"] != self.region:
            raise ResourceNotFound(f"Functions from '{match['region']}' are not reachable in this region ('{self.region}')")
        if own and qualifier and own != qualifier:
            raise InvalidParameterValue("The derived qualifier from the function name does not match the specified qualifier.")
        qualifier = qualifier or own
        if match["account"] and match["account"] != self.account:
            raise ForeignAccount(match["account"], AccountRegion(match["account"], self.region).arn(name, qualifier))
        return name, qualifier

    def parse_whole(self, text: str) -> str:
        """Return the bare name, for an operation on a whole function."""
        name, qualifier = self.parse(text)
        if qualifier is not None:
            raise InvalidParameterValue(
                "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
                "Please specify either a function name or an unqualified function ARN."
            )
        return name

    def parse_new(self, text: str) -> str:
        """Return the bare name of a function to create."""
        name, qualifier = self.parse(text)
        if qualifier or not _NAME.fullmatch(name):
            raise ValidationError(
                f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: "
                "Member must name a function without a qualifier"
            )
        if len(name) > FUNCTION_NAME_CHARS:
            raise InvalidParameterValue(
                f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: "
                f"Member must have length less than or equal to {FUNCTION_NAME_CHARS}"
            )
        return name

    def parse_resource(self, arn: str) -> str:
        """Return the bare name of a function to tag, given as a full ARN."""
        if not _FUNCTION_ARN.fullmatch(arn):
            raise ValidationError(
                f"1 validation error detected: Value '{arn}' at 'resource' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: "
                r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:"
                r"(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|"
                r"event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|"
                r"capacity-provider:[a-zA-Z0-9-_]+)"
            )
        name, qualifier = self.parse(arn)
        if qualifier:
            raise InvalidParameterValue("Tags on function aliases and versions are not supported. Please specify a function ARN.")
        return name


def is_account(text: str) -> bool:
    """Whether a text is an account id: 12 digits."""
    return len(text) == 12 and text.isascii() and text.isdigit()


def is_version(qualifier: str) -> bool:
    """Whether a qualifier is the number of a published version."""
    return qualifier.isascii() and qualifier.isdigit()


def is_alias(qualifier: str) -> bool:
    return _ALIAS.fullmatch(qualifier) is not None
