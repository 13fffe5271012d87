"""Messages of `application/vnd.amazon.eventstream`, the format of operations that answer with a stream of events. Sans-IO.

A message, numbers big-endian: `u32 length of all of it, u32 length of the headers, u32 CRC-32 of these 8 bytes, headers, payload,
u32 CRC-32 of all before`. A header: `u8 length, name, u8 type, value`; of type 7, a string: `u16 length, UTF-8`.
"""

import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, Self

from botocore.model import Shape

from hanabi.edge.protocols.codec import write_json
from hanabi.edge.protocols.model import Model
from hanabi.errors import ApiError

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PAYLOAD_MAX_BYTES = 16 << 20  # clients take no larger message: 24 MiB in the format, 16 MiB in botocore
_HEADERS_MAX_BYTES = 128 * 1024
_MESSAGE_CHARS = 8192  # of an error, in a header
_STRING = 7
_BYTES, _JSON = "application/octet-stream", "application/json"


def encode_message(headers: Iterable[tuple[str, str]], payload: bytes = b"") -> bytes:
    """Encode a message. Raises `ValueError` for one too large for the format."""
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise ValueError(f"a message's payload has at most {PAYLOAD_MAX_BYTES} bytes, not {len(payload)}")
    head = b"".join(map(_encode_header, headers))
    if len(head) > _HEADERS_MAX_BYTES:
        raise ValueError(f"a message's headers have at most {_HEADERS_MAX_BYTES} bytes, not {len(head)}")
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = b"".join((prelude, zlib.crc32(prelude).to_bytes(4), head, payload))
    return message + zlib.crc32(message).to_bytes(4)


def _encode_header(header: tuple[str, str]) -> bytes:
    name, value = (text.encode() for text in header)
    if not 0 < len(name) < 1 << 8 or not len(value) < 1 << 16:
        raise ValueError(f"{header[0][:64]!r} is too long a header of a message")
    return struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name, _STRING, len(value), value)


class Events(Protocol):
    """A result's event stream: an iterator of (event name, members). Its consumer closes it."""

    def __aiter__(self) -> Self: ...

    def __anext__(self) -> Awaitable[tuple[str, Mapping[str, Any]]]: ...

    def aclose(self) -> Awaitable[None]: ...


class EncodedEvents:
    """A `ByteStream` of events. Each is fetched when the previous one was sent. An `ApiError` becomes the last message.

    `first`: a message before them.
    """

    def __init__(self, stream: "EventStream", events: Events, first: bytes = b"") -> None:
        self._stream = stream
        self._events = events
        self._first = first
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            event, members = await anext(self._events)
        except ApiError as error:
            self._ended = True
            return self._stream.encode_error(error)
        return self._stream.encode(event, members)

    async def aclose(self) -> None:
        self._ended = True
        await self._events.aclose()


class EventStream:
    """The encoder of one operation's events, by its model."""

    def __init__(self, model: Model, operation: str) -> None:
        output = model.operation(operation).output_shape
        stream = next((shape for shape in output.members.values() if shape.serialization.get("eventstream")), None) if output else None
        if stream is None:
            raise ValueError(f"{model.name}:{operation} answers with no event stream")
        self._encoders = {name: _encoder(model, name, shape) for name, shape in stream.members.items()}

    def encode(self, event: str, members: Mapping[str, Any]) -> bytes:
        """Encode one event, by its name and members. Raises `KeyError` for one that is not in the model."""
        return self._encoders[event](members)

    def encode_error(self, error: ApiError) -> bytes:
        """Encode the last message of a stream that fails after its answer has begun."""
        if error.code in self._encoders:  # one of the stream's own exceptions
            headers = [(":message-type", "exception"), (":exception-type", error.code), (":content-type", _JSON)]
            return encode_message(headers, write_json({"message": error.message}))
        return encode_message([(":message-type", "error"), (":error-code", error.code), (":error-message", error.message[:_MESSAGE_CHARS])])


def _encoder(model: Model, name: str, shape: Shape) -> Callable[[Mapping[str, Any]], bytes]:
    """Make an event's encoder. Members marked as headers or raw payload are that; the others are a JSON document."""
    located = [(member, inner) for member, inner in shape.members.items() if inner.serialization.get("eventheader")]
    payload = next(((member, inner) for member, inner in shape.members.items() if inner.serialization.get("eventpayload")), None)
    is_raw = payload is not None and payload[1].type_name in ("blob", "string")
    first = [(":message-type", "event"), (":event-type", name), (":content-type", _BYTES if is_raw else _JSON)]
    render = model.shapes.renderer(payload[1] if payload is not None else shape)

    def encode(members: Mapping[str, Any]) -> bytes:
        headers = first + [(member, str(members[member])) for member, _ in located if members.get(member) is not None]
        if payload is None:
            return encode_message(headers, write_json(render({name: each for name, each in members.items() if each is not None})))
        value = members.get(payload[0])
        if is_raw:
            return encode_message(headers, value.encode() if isinstance(value, str) else value or b"")
        return encode_message(headers, write_json(render(value or {})))

    return encode
