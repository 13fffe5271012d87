"""Tags of a function. Pure: each function takes a function value and returns a new one."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hanabi.control.model import Function, new_id
from hanabi.errors import InvalidParameterValue
from hanabi.quotas import TAGS_MAX


def check_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if len(tags) > TAGS_MAX:
        raise InvalidParameterValue("Number of tags exceeds resource tag limit.")
    return dict(tags)


def add_tags(function: Function, tags: Mapping[str, str]) -> Function:
    if not tags:
        raise InvalidParameterValue("An error occurred and the request cannot be processed.")
    return _with_tags(function, check_tags({**function.tags, **tags}))


def remove_tags(function: Function, keys: Iterable[str]) -> Function:
    gone = set(keys)
    return _with_tags(function, {key: value for key, value in function.tags.items() if key not in gone})


def _with_tags(function: Function, tags: dict[str, str]) -> Function:
    return replace(function, tags=tags, latest=replace(function.latest, revision_id=new_id()))
