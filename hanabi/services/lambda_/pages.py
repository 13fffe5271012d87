"""Pages of lists. An opaque marker says where the next page begins."""

import base64
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hanabi.errors import InvalidParameterValue
from hanabi.quotas import LIST_PAGE_ITEMS

T = TypeVar("T")


def take_page(
    items: Iterable[T], key: Callable[[T], str], params: dict[str, Any], most: int = LIST_PAGE_ITEMS
) -> tuple[list[T], dict[str, Any]]:
    """Return (the items of a page, `NextMarker` if another follows). `items` are ordered by key, a page has `most` at most."""
    last = _read_marker(params["Marker"]) if params.get("Marker") else ""
    limit = min(params.get("MaxItems") or most, most)
    page: list[T] = []
    for item in items:
        if key(item) <= last:
            continue
        if len(page) == limit:
            marker = base64.urlsafe_b64encode(key(page[-1]).encode()).decode()
            return page, {"NextMarker": marker}
        page.append(item)
    return page, {}


def name_before(params: dict[str, Any]) -> str:
    """The name that the last page ended with, of keys that are a name, a space and more; empty for the first page."""
    return _read_marker(params["Marker"]).partition(" ")[0] if params.get("Marker") else ""


def _read_marker(text: str) -> str:
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise InvalidParameterValue("The provided Marker is invalid.") from None
