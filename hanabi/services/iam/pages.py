"""Pages of lists (`Marker`, `MaxItems`), and tags, as all of IAM has them."""

import base64
from collections.abc import Callable
from typing import Any

from hanabi.errors import ValidationError
from hanabi.quotas import IAM_PAGE_ITEMS, IAM_TAGS_MAX
from hanabi.services.iam.errors import InvalidInput, LimitExceeded


def page(items: list[Any], params: dict[str, Any], name: Callable[[Any], str] = str) -> tuple[list[Any], dict[str, Any]]:
    """Take the page that is asked for of items in the order of their names; returns it with the members about the next page."""
    if params.get("Marker"):
        try:
            after = base64.urlsafe_b64decode(params["Marker"].encode()).decode()
        except ValueError:
            raise ValidationError("Invalid Marker.") from None
        items = [item for item in items if name(item) > after]
    size = params.get("MaxItems", IAM_PAGE_ITEMS)
    if len(items) <= size:
        return items, {"IsTruncated": False}
    found = items[:size]
    return found, {"IsTruncated": True, "Marker": base64.urlsafe_b64encode(name(found[-1]).encode()).decode()}


def check_tags(tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the tags of an entity. Raises for too many, and for keys that differ by case only."""
    if len({tag["Key"].lower() for tag in tags}) < len(tags):
        raise InvalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if len(tags) > IAM_TAGS_MAX:
        raise LimitExceeded(f"The number of tags has reached the maximum limit of {IAM_TAGS_MAX}.")
    return tags


def add_tags(old: list[dict[str, str]], new: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return tags with others added: a key that is there, whatever its letters, is replaced."""
    check_tags(new)
    replaced = {tag["Key"].lower() for tag in new}
    return check_tags([tag for tag in old if tag["Key"].lower() not in replaced] + new)
