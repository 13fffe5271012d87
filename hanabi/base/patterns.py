"""Wildcard matching: `*` matches any characters, `?` any one. Used for CORS origins, policies and other user input.

The pattern is cut at `*`. Its first part must begin the text and its last part must end it; each part between is searched for once,
from where the one before it ended, so nothing is ever tried twice, whatever the pattern is. A part without `?` is searched by `str.find`.
A part with `?` is searched with the set of its beginnings that fit so far, kept in the bits of one integer: one step for each character
of the text, and in a step one machine word for each 30 characters of the part.
"""

import functools

CACHED_CHARACTERS = 512  # of a pattern that is worth keeping cut


class Wildcard:
    """A pattern, cut once. `ignore_case` compares in lower case."""

    __slots__ = ("_parts", "_least", "_ignore_case")

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        parts = (pattern.lower() if ignore_case else pattern).split("*")
        if len(parts) > 2:
            parts = [parts[0], *filter(None, parts[1:-1]), parts[-1]]
        self._parts = parts
        self._least = sum(map(len, parts))
        self._ignore_case = ignore_case

    def matches(self, text: str) -> bool:
        """Whether the pattern covers the whole text."""
        if self._ignore_case:
            text = text.lower()
        parts = self._parts
        if len(parts) == 1:
            return len(text) == self._least and _is_at(parts[0], text, 0)
        end = len(text) - len(parts[-1])
        if len(text) < self._least or not _is_at(parts[0], text, 0) or not _is_at(parts[-1], text, end):
            return False
        position = len(parts[0])
        for part in parts[1:-1]:
            found = _search(part, text, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether `pattern` covers the whole of `text`."""
    if len(pattern) > CACHED_CHARACTERS:
        return Wildcard(pattern, ignore_case=ignore_case).matches(text)
    return _cut(pattern, ignore_case).matches(text)


@functools.lru_cache(maxsize=1024)
def _cut(pattern: str, ignore_case: bool) -> Wildcard:
    return Wildcard(pattern, ignore_case=ignore_case)


def _is_at(part: str, text: str, position: int) -> bool:
    """Whether a part matches a text at a position; the text is long enough."""
    if "?" not in part:
        return text.startswith(part, position)
    return all(wanted == "?" or wanted == text[position + index] for index, wanted in enumerate(part))


def _search(part: str, text: str, start: int, end: int) -> int:
    """Find a part's first position between two positions of a text; -1: none."""
    if "?" not in part:
        return text.find(part, start, end)
    places: dict[str, list[int]] = {}
    for index, wanted in enumerate(part):
        places.setdefault(wanted, []).append(index)
    size = len(part) // 8 + 1
    anything = _bits(places["?"], size)
    masks: dict[str, int] = {}  # of the characters that the text has, as they come
    matched, whole = 0, 1 << (len(part) - 1)  # bit n: the last n + 1 characters are the part's first n + 1
    for index in range(start, end):
        character = text[index]
        mask = masks.get(character)
        if mask is None:
            mask = masks[character] = anything | _bits(places.get(character, []) if character != "?" else [], size)
        matched = (matched << 1 | 1) & mask
        if matched & whole:
            return index + 1 - len(part)
    return -1


def _bits(positions: list[int], size: int) -> int:
    bits = bytearray(size)
    for position in positions:
        bits[position >> 3] |= 1 << (position & 7)
    return int.from_bytes(bits, "little")
