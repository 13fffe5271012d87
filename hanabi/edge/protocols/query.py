"""The query protocol (STS, IAM): form in, XML out."""

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from botocore.model import Shape

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.protocols.codec import Match
from hanabi.edge.protocols.model import Model
from hanabi.edge.protocols.shapes import from_iso
from hanabi.edge.protocols.xml_documents import escape_text, write_members
from hanabi.errors import ApiError, SerializationError, UnknownOperation

_FIELDS_MAX = 2000

# Query services say these in words of their own: code -> (code, status).
_CODES = {
    "ValidationException": ("ValidationError", 400),
    "SerializationException": ("MalformedInput", 400),
    "UnknownOperationException": ("InvalidAction", 400),
    "MissingAuthenticationTokenException": ("MissingAuthenticationToken", 403),
    "IncompleteSignatureException": ("IncompleteSignature", 403),
    "UnrecognizedClientException": ("InvalidClientTokenId", 403),
    "InvalidSignatureException": ("SignatureDoesNotMatch", 403),
    "ExpiredTokenException": ("ExpiredToken", 403),
    "AccessDeniedException": ("AccessDenied", 403),
    "ServiceException": ("ServiceFailure", 500),
    "NotImplementedException": ("NotImplemented", 501),
}

_PARSERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": lambda text: text.lower() == "true",
    "timestamp": from_iso,
    "blob": lambda text: base64.b64decode(text, validate=True),
}


class Query:
    matches_body = True

    def __init__(self, model: Model) -> None:
        self.model = model
        self._version = model.botocore.api_version
        self._namespace = model.botocore.metadata["xmlNamespace"]
        self._operations = frozenset(model.operation_names)

    def match(self, request: HttpRequest) -> Match:
        fields = read_form(request)
        action = fields.get("Action", "")
        if action not in self._operations:
            version = fields.get("Version", self._version)
            raise UnknownOperation(f"Could not find operation {action[:128]} for version {version[:32]}" if action else "Missing Action")
        return Match(action, fields)

    def parse(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        shape = self.model.operation(match.operation).input_shape
        if shape is None:
            return {}
        tree: dict[str, Any] = {}
        for name, value in match.labels.items():
            _insert(tree, name.split("."), value)
        params: dict[str, Any] = _read(shape, tree, match.operation)
        return params

    def read(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        params = self.parse(match, request, document)
        self.model.validate(match.operation, params)
        return params

    def respond(self, operation: str, result: dict[str, Any], request_id: str) -> HttpResponse:
        shape = self.model.operation(operation).output_shape
        inner = ""
        if shape is not None:
            wrapper = shape.serialization.get("resultWrapper", f"{operation}Result")
            inner = f"<{wrapper}>{write_members(shape, result)}</{wrapper}>"
        body = (
            f'<{operation}Response xmlns="{self._namespace}">{inner}'
            f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
        )
        return _xml(200, body, request_id)

    def fail(self, error: ApiError, request_id: str) -> HttpResponse:
        code, status = _CODES.get(error.code, (error.code, error.status))
        sender = "Receiver" if status >= 500 else "Sender"
        body = (
            f'<ErrorResponse xmlns="{self._namespace}"><Error><Type>{sender}</Type><Code>{code}</Code>'
            f"<Message>{escape_text(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return _xml(status, body, request_id)


def read_form(request: HttpRequest) -> dict[str, str]:
    """Read the fields of a form, from the body of a POST or the query of a GET."""
    assert isinstance(request.body, bytes)
    try:
        text = request.body.decode() if request.method == "POST" else request.query
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError as error:
        raise SerializationError(f"Could not parse the form: {error}") from None


def _insert(tree: dict[str, Any], keys: list[str], value: str) -> None:
    for key in keys[:-1][:16]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            branch = tree[key] = {}
        tree = branch
    tree[keys[-1]] = value


def _read(shape: Shape, value: Any, name: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        fields = value if isinstance(value, dict) else {}
        wires = ((member, inner.serialization.get("name", member), inner) for member, inner in shape.members.items())
        return {member: _read(inner, fields[wire], wire) for member, wire, inner in wires if wire in fields}
    if kind == "list":
        return [_read(shape.member, item, name) for item in _items(value, shape.member.serialization.get("name", "member"))]
    if kind == "map":
        return {
            str(item.get("key", "")): _read(shape.value, item.get("value", ""), name)
            for item in _items(value, "entry")
            if isinstance(item, dict)
        }
    if not isinstance(value, str):
        raise SerializationError(f"Unexpected list element for {name}")
    try:
        return _PARSERS.get(kind, str)(value)
    except (ValueError, binascii.Error):
        raise SerializationError(f"Invalid value for {name}: {value[:64]}") from None


def _items(value: Any, wrapper: str) -> list[Any]:
    """`member.1`, `member.2`, ... in order; an empty value is an empty list."""
    if not isinstance(value, dict):
        return []
    numbered = value.get(wrapper, {})
    if not isinstance(numbered, dict):
        return []
    return [numbered[index] for index in sorted((key for key in numbered if key.isdecimal() and len(key) < 6), key=int)]


def _xml(status: int, body: str, request_id: str) -> HttpResponse:
    return HttpResponse(status, [("content-type", "text/xml"), ("x-amzn-requestid", request_id)], body.encode())
