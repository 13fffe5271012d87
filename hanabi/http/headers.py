"""Repeated headers and fields."""

from collections.abc import Iterable


def join_repeated(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Map each name to one value. The values of a repeated name are joined by commas, in order."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: several[0] if len(several) == 1 else ",".join(several) for name, several in values.items()}
