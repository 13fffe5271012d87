"""The HTTP/1.1 codec for a VMM's API, sans-IO: requests to bytes, bounded bytes to answers."""

import json
import re
from dataclasses import dataclass
from typing import Any

HEAD_MAX_BYTES = 8 * 1024
BODY_MAX_BYTES = 64 * 1024
REQUEST_MAX_BYTES = 51200  # bytes of a request's body: Firecracker's own default, --http-api-max-payload-size
FAULT_MAX_BYTES = 2000  # characters of a fault message that are kept

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: [\x20-\x7e]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t]*)")
_LENGTH = re.compile(rb"[0-9]{1,6}")


class MalformedAnswer(ValueError):
    """Bytes that are not a valid answer of a VMM."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        return self.status in (200, 204)

    def json(self) -> dict[str, Any]:
        """The body, a JSON object; `{}` when there is none. Raises `MalformedAnswer`."""
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            raise MalformedAnswer("the answer is not JSON") from None
        if not isinstance(value, dict):
            raise MalformedAnswer("the answer is not a JSON object")
        return value

    def fault(self) -> str:
        """The fault message of a refusal, printable and bounded."""
        try:
            text = str(self.json().get("fault_message", ""))
        except MalformedAnswer:
            text = self.body.decode("utf-8", "replace")
        return "".join(each if each.isprintable() else " " for each in text[:FAULT_MAX_BYTES]).strip() or "no reason was given"


def encode(method: str, path: str, body: dict[str, Any] | None) -> bytes:
    """Encode a request. Raises `ValueError` for a body that Firecracker would not read."""
    if body is None:
        return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode("ascii")
    content = json.dumps(body, separators=(",", ":")).encode()
    if len(content) > REQUEST_MAX_BYTES:
        raise ValueError(f"the request's body has {len(content)} bytes; {REQUEST_MAX_BYTES} are allowed")
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode("ascii") + content


def take_answer(data: bytearray) -> Answer | None:
    """Remove one complete answer from the front of `data`; None while it is incomplete. Raises `MalformedAnswer`."""
    end = data.find(b"\r\n\r\n", 0, HEAD_MAX_BYTES)
    if end < 0:
        if len(data) >= HEAD_MAX_BYTES:
            raise MalformedAnswer(f"the answer's head is longer than {HEAD_MAX_BYTES} bytes")
        return None
    lines = bytes(data[:end]).split(b"\r\n")
    status = _STATUS_LINE.fullmatch(lines[0])
    if status is None:
        raise MalformedAnswer("the answer is not HTTP/1.1")
    length = _body_length(int(status[1]), lines[1:])
    start = end + 4
    if len(data) < start + length:
        return None
    answer = Answer(int(status[1]), bytes(data[start : start + length]))
    del data[: start + length]
    return answer


def _body_length(status: int, lines: list[bytes]) -> int:
    length: int | None = None
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise MalformedAnswer("the answer has a malformed header")
        match header[1].lower():
            case b"content-length":
                if length is not None or not _LENGTH.fullmatch(header[2].strip()):
                    raise MalformedAnswer("the answer has no sound length")
                length = int(header[2])
            case b"transfer-encoding":
                raise MalformedAnswer("the answer is in chunks")
    length = length or 0
    if length > BODY_MAX_BYTES:
        raise MalformedAnswer(f"the answer has {length} bytes; {BODY_MAX_BYTES} are allowed")
    if status == 204 and length:
        raise MalformedAnswer("an answer without content has content")
    return length
