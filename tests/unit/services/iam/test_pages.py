"""Pages of lists, and tags."""

import pytest

from hanabi.errors import ValidationError
from hanabi.services.iam.errors import InvalidInput
from hanabi.services.iam.pages import add_tags, check_tags, page


def test_pages_follow_each_other() -> None:
    items = [f"n{number}" for number in range(5)]
    found: list[str] = []
    params = {"MaxItems": 2}
    while True:
        part, more = page(items, params)
        found += part
        if not more["IsTruncated"]:
            break
        params = {"MaxItems": 2, "Marker": more["Marker"]}
        items = [item for item in items if item != "n2"]  # what goes meanwhile is not missed
    assert found in (["n0", "n1", "n3", "n4"], ["n0", "n1", "n2", "n3", "n4"]) and "Marker" not in more
    with pytest.raises(ValidationError, match=r"Invalid Marker\."):
        page(items, {"Marker": "x"})


def test_tags_are_told_apart_whatever_their_letters() -> None:
    one = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    assert add_tags(one, [{"Key": "A", "Value": "3"}]) == [{"Key": "b", "Value": "2"}, {"Key": "A", "Value": "3"}]
    with pytest.raises(InvalidInput):
        check_tags([{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}])
