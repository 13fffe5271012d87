"""Text tables, and durations and text formatted for a terminal."""

import unicodedata
from collections.abc import Sequence

_TEXT = "\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


def render(header: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[int] = ()) -> str:
    """Render a table with columns as wide as needed; columns in `right` are aligned to the right."""
    cells = [list(map(str, row)) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = [str.rjust if column in right else str.ljust for column in range(len(header))]
    return "\n".join("  ".join(pad(cell, width) for pad, cell, width in zip(align, row, widths, strict=True)).rstrip() for row in cells)


def duration(seconds: float) -> str:
    """`42s`, `3m10s`, `5h02m`, `2d04h`"""
    whole = int(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02d}{smaller}"
    return f"{whole}s"


def printable(text: str) -> str:
    """Make a function's text safe to show: no control characters but tab, and none that hide or reorder text.

    All kinds of spaces and joiners of letters and emoji are kept, which `str.isprintable` excludes.
    """
    return "".join(each if each.isprintable() or each in _TEXT or unicodedata.category(each) == "Zs" else _REPLACED for each in text)
