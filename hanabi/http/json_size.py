"""A check for JSON with too many values to parse on the event loop (up to 0.25 s for a megabyte)."""

SMALL_BYTES = 64 * 1024
CONTAINERS = 20_000  # objects and arrays; the most that an operation takes is the 10,000 events of PutLogEvents
VALUES = 100_000


def has_too_many_values(text: bytes) -> bool:
    """Whether parsing would block the loop. Always False up to 64 KiB. Cheap: a few passes in C."""
    return len(text) > SMALL_BYTES and _exceeds(text) and _exceeds(_without_strings(text))


def _exceeds(text: bytes) -> bool:
    return text.count(b"[") + text.count(b"{") > CONTAINERS or text.count(b",") > VALUES


def _without_strings(text: bytes) -> bytes:
    """Remove all strings. Without a regular expression, which an unterminated string would make slow."""
    return b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
