"""Tags: of functions, and what holds for those of every kind of resource. Pure: a change takes a value and returns a new one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from hanabi.control.functions import Functions
from hanabi.control.model import Function, new_id
from hanabi.errors import InvalidParameterValue
from hanabi.quotas import TAG_KEY_CHARS, TAG_VALUE_CHARS, TAGS_MAX

Tags = Mapping[str, str]
RESERVED = "aws:"  # of keys, in any case


class TaggedKind(Protocol):
    """The resources of one kind that have tags: what TagResource, UntagResource and ListTags need of them.

    A resource is named by its ARN, which the API's model has checked. Each kind is registered by the word for it in ARNs:
    `services/lambda_/__init__.py`.
    """

    def tags_of(self, arn: str) -> Tags:
        """Return the tags of a resource. Raises `ResourceNotFound`."""

    async def change_tags(self, arn: str, change: Callable[[Tags], dict[str, str]]) -> None:
        """Replace the tags of a resource by what `change` makes of them. Raises `ResourceNotFound`."""


class FunctionTags:
    """The tags of functions, as a `TaggedKind`. They are those of the function as a whole."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    def tags_of(self, arn: str) -> Tags:
        return self._functions.find(self._functions.account_region.parse_resource(arn)).tags

    async def change_tags(self, arn: str, change: Callable[[Tags], dict[str, str]]) -> None:
        name = self._functions.account_region.parse_resource(arn)
        await self._functions.change(name, lambda function: _with_tags(function, change(function.tags)))


def check_tags(tags: Tags) -> dict[str, str]:
    """Return the tags of a resource, if it can have them. Raises `InvalidParameterValue`."""
    if len(tags) > TAGS_MAX:
        raise InvalidParameterValue("Number of tags exceeds resource tag limit.")
    for key, value in tags.items():
        if key.lower().startswith(RESERVED):
            raise InvalidParameterValue("aws: prefixed tag key names are not allowed for external use.")
        if not 1 <= len(key) <= TAG_KEY_CHARS:
            raise InvalidParameterValue(f"Tag keys must have between 1 and {TAG_KEY_CHARS} characters.")
        if len(value) > TAG_VALUE_CHARS:
            raise InvalidParameterValue(f"Tag values must have no more than {TAG_VALUE_CHARS} characters.")
    return dict(tags)


def add_tags(new: Tags) -> Callable[[Tags], dict[str, str]]:
    """Return the change of TagResource."""
    if not new:
        raise InvalidParameterValue("An error occurred and the request cannot be processed.")
    return lambda tags: check_tags({**tags, **new})


def remove_tags(keys: Iterable[str]) -> Callable[[Tags], dict[str, str]]:
    """Return the change of UntagResource."""
    gone = set(keys)
    return lambda tags: {key: value for key, value in tags.items() if key not in gone}


def _with_tags(function: Function, tags: dict[str, str]) -> Function:
    return replace(function, tags=tags, latest=replace(function.latest, revision_id=new_id()))
