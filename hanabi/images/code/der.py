"""DER, as far as signatures need it: values are written, and read back strictly, with definite lengths."""

from collections.abc import Iterator

INTEGER, OCTETS, OID, UTF8, TIME, SEQUENCE, SET = 0x02, 0x04, 0x06, 0x0C, 0x18, 0x30, 0x31
CONTEXT_0, CONTEXT_1 = 0xA0, 0xA1


def write(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def write_set(*parts: bytes) -> bytes:
    """Write a SET OF: its members in order."""
    return write(SET, *sorted(parts))


def write_integer(value: int) -> bytes:
    return write(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def write_oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    body = b""
    for number in (40 * first + second, *rest):
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        body += bytes(reversed(digits))
    return write(OID, body)


def read(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Iterate over values: (tag, content, the value whole). Raises `ValueError` for anything malformed."""
    at = 0
    while at < len(data):
        start, tag = at, data[at]
        if at + 2 > len(data):
            raise ValueError("a value that is cut off")
        size, at = data[at + 1], at + 2
        if size >= 0x80:
            digits = size & 0x7F
            if not 1 <= digits <= 4 or at + digits > len(data):
                raise ValueError("a length that cannot be")
            size, at = int.from_bytes(data[at : at + digits], "big"), at + digits
        if at + size > len(data):
            raise ValueError("a value that is cut off")
        yield tag, data[at : at + size], data[start : at + size]
        at += size


def read_one(data: bytes, tag: int) -> bytes:
    """Return the content of the only value, of that tag. Raises `ValueError`."""
    ((found, content, _),) = read(data)
    if found != tag:
        raise ValueError(f"a value of the kind {found:#x} in the place of {tag:#x}")
    return content


def read_all(data: bytes, *tags: int) -> list[bytes]:
    """Return the contents of values of exactly these tags. Raises `ValueError`."""
    values = list(read(data))
    if [tag for tag, _, _ in values] != list(tags):
        raise ValueError("other values than there should be")
    return [content for _, content, _ in values]
