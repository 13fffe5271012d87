"""What the wire protocols have in common."""

import json
import logging
from dataclasses import dataclass, field
from typing import Any, Protocol

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.protocols.model import Model
from hanabi.errors import AccessDenied, ApiError, SerializationError
from hanabi.http.json_size import has_too_many_values

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Match:
    """The operation that a request is for."""

    operation: str
    labels: dict[str, str] = field(default_factory=dict)  # from the path


class Codec(Protocol):
    """One wire protocol for one service."""

    model: Model
    matches_body: bool  # whether `match` reads the body too

    def match(self, request: HttpRequest) -> Match:
        """Find the operation of a request. Raises `UnknownOperation`, or what the protocol says of an unknown one."""

    def parse(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        """Read the parameters by member name. `document` is the body when already parsed. Raises `SerializationError`."""

    def read(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        """As `parse`, then validate against the model. Raises `ValidationError` too."""

    def respond(self, operation: str, result: dict[str, Any], request_id: str) -> HttpResponse: ...

    def fail(self, error: ApiError, request_id: str) -> HttpResponse: ...


def read_json(body: bytes) -> Any:
    """Parse a JSON document; an empty body is an empty object. One with tens of thousands of values is refused: it would block the loop."""
    if not body:
        return {}
    if has_too_many_values(body):
        raise SerializationError("Could not parse request body into json: it has too many values")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SerializationError(f"Could not parse request body into json: {error}") from None


def write_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def error_body(model: Model, error: ApiError, *, typed: bool) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return (members, headers) of an error in JSON, with the member names of its shape in the model."""
    shape = model.errors.get(error.code)
    if shape is None:
        name = "Message" if isinstance(error, AccessDenied | SerializationError) else "message"  # as AWS's own edge says it
        return {name: error.message} | error.fields, []
    members: dict[str, Any] = {"Type": error.type} if typed and error.type else {}
    headers = [(header, str(error.fields[member])) for member, header in shape.headers.items() if member in error.fields]
    members |= {name: value for name, value in error.fields.items() if name not in shape.headers}
    members[shape.message] = error.message
    return members, headers
