"""The check that a request's path is in canonical form.

A path with `//`, dot segments or escapes of them could mean one thing to the signature and another to the router. The API and
Hanabi's own endpoints take canonical paths only, so that routing, signing and authorising see the same path.
"""

import re
from urllib.parse import unquote_to_bytes

_CACHED_PATHS = 4096
_CACHED_BYTES = 512  # a longer path is looked at each time

# What every client sends for nearly every operation: nothing escaped, no segment that begins with a dot.
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~:$@!'()*+,;=&-][A-Za-z0-9_~:$@!'()*+,;=&.-]*)+/?|/")
_CHARACTERS = re.compile(r"/[A-Za-z0-9_~:$@!'()*+,;=&./%-]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_known: set[str] = set()


def is_canonical(path: str) -> bool:
    """Whether a raw path is canonical: no segment is empty or dots, even escaped, and each decodes to UTF-8.

    One slash at the end is allowed: old clients send it. An escaped slash is a character of its segment.
    """
    if path in _known:
        return True
    if not _PLAIN.fullmatch(path) and not _has_one_reading(path):
        return False
    if len(path) <= _CACHED_BYTES:
        if len(_known) >= _CACHED_PATHS:
            _known.clear()
        _known.add(path)
    return True


def _has_one_reading(path: str) -> bool:
    if not _CHARACTERS.fullmatch(path) or _BAD_ESCAPE.search(path):
        return False
    try:
        text = unquote_to_bytes(path).decode()  # strict: overlong forms and halves of characters are none
    except UnicodeDecodeError:
        return False
    if _CONTROL.search(text):
        return False
    segments = path.removesuffix("/").split("/")[1:]
    return not any(segment in ("", ".", "..") or ("%" in segment and unquote_to_bytes(segment) in (b".", b"..")) for segment in segments)
