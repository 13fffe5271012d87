"""Whether a JSON text has so many values that reading it would hold up the event loop: up to a quarter of a second for a megabyte."""

SMALL_BYTES = 64 * 1024
CONTAINERS = 20_000  # objects and arrays; the most that an operation takes is the 10,000 events of PutLogEvents
VALUES = 100_000


def has_too_many_values(text: bytes) -> bool:
    """Of a text of up to 64 KiB it is never said. Cheap: some passes in C."""
    return len(text) > SMALL_BYTES and _exceeds(text) and _exceeds(_without_strings(text))


def _exceeds(text: bytes) -> bool:
    return text.count(b"[") + text.count(b"{") > CONTAINERS or text.count(b",") > VALUES


def _without_strings(text: bytes) -> bytes:
    """No regular expression that a string without an end could lead astray."""
    return b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
