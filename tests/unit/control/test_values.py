"""JSON values become dataclasses only as declared."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from hanabi.control.values import build, need


@dataclass(frozen=True, kw_only=True)
class Thing:
    name: str
    made_ms: int = 0
    share: float = 0.0
    other: str | None = None
    parts: tuple[str, ...] = ()
    by_number: Mapping[int, str] = field(default_factory=dict)


def test_what_fits_is_built() -> None:
    assert build(Thing, {"name": "a", "made_ms": 5, "share": 1, "parts": ("x",), "by_number": {1: "y"}}, "it").parts == ("x",)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (None, "has no object where it is expected"),
        ({}, "lacks 'name' in it"),
        ({"name": "a", "colour": 1}, "does not know: 'colour' in it"),
        ({"name": 1}, "wrong type: 'name' in it"),
        ({"name": "a", "share": float("nan")}, "wrong type: 'share' in it"),
        ({"name": "a", "made_ms": -1}, "has a time that cannot be: 'made_ms' in it"),
        ({"name": "a", "made_ms": 1 << 62}, "wrong type: 'made_ms' in it"),
        ({"name": "a", "parts": ["x"]}, "wrong type: 'parts' in it"),
        ({"name": "a", "by_number": {"1": "y"}}, "wrong type: 'by_number' in it"),
    ],
)
def test_what_does_not_fit_is_refused(values: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        build(Thing, values, "it")


def test_what_is_needed() -> None:
    need(True, "is no problem")
    with pytest.raises(ValueError, match="is a problem"):
        need(False, "is a problem")
