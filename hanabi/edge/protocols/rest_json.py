"""The rest-json protocol (Lambda)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs

from botocore.model import Shape

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.protocols.codec import Match, error_body, read_json, write_json
from hanabi.edge.protocols.event_stream import CONTENT_TYPE as EVENT_STREAM
from hanabi.edge.protocols.event_stream import EncodedEvents, EventStream
from hanabi.edge.protocols.model import Model
from hanabi.edge.protocols.shapes import Convert, from_iso, structure_parser, structure_renderer, to_datetime
from hanabi.edge.protocols.uri_routes import UriRoutes
from hanabi.errors import AccessDenied, ApiError, SerializationError

_HEADS = 4096  # that are remembered, in so many characters each at most
_HEAD_CHARS = 512
_IMMUTABLE = frozenset({str, int, float, bool, bytes})
_JSON = ("content-type", "application/json")
_EVENTS = ("content-type", EVENT_STREAM)


@dataclass(frozen=True, slots=True)
class InputPlan:
    """Where an operation's parameters come from: (member, name on the wire, convert)."""

    labels: list[tuple[str, str, Convert]]
    query: list[tuple[str, str, Callable[[list[str]], Any]]]
    headers: list[tuple[str, str, Convert]]
    payload: str | None  # the member that is the whole body
    raw: bool  # the payload is bytes, not JSON
    body: Convert | None
    header_names: tuple[str, ...] = ()
    head_decides: bool = False  # the payload is whatever it is: all that can be wrong is in the head


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Where a result's members go: status, headers, body."""

    status: int
    status_member: str | None
    headers: list[tuple[str, str, Convert]]
    payload: str | None
    raw: bool
    body: Convert | None
    events: EventStream | None = None  # the payload is events: its value is `event_stream.Events`


class RestJson:
    matches_body = False

    def __init__(self, model: Model) -> None:
        self.model = model
        self._routes = UriRoutes(model)
        self._inputs: dict[str, InputPlan] = {}
        self._outputs: dict[str, OutputPlan] = {}
        self._heads: dict[tuple[str | None, ...], dict[str, Any]] = {}  # the parameters of heads in which nothing is wrong

    def match(self, request: HttpRequest) -> Match:
        try:
            found = self._routes.find(request.method, request.path, request.query)
        except ValueError as error:
            raise SerializationError(str(error)) from None
        if found is None:
            raise AccessDenied("Unable to determine service/operation name to be authorized")  # so, since 2015: boto3 issue 294
        return found

    def parse(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        plan = self._inputs.get(match.operation) or self._compile_input(match.operation)
        params: dict[str, Any] = {}
        for member, name, convert in plan.labels:
            params[member] = convert(match.labels[name])
        if plan.query and request.query:
            given = _parse_query(request.query)
            for member, name, convert_all in plan.query:
                if name in given:
                    params[member] = convert_all(given[name])
        if plan.headers:
            fields = request.fields
            for member, name, convert in plan.headers:
                if name in fields:
                    params[member] = convert(fields[name])
        if plan.raw and plan.payload:
            params[plan.payload] = request.body
        elif plan.body is not None:
            if document is None:
                assert isinstance(request.body, bytes)  # large documents are read beforehand, see `uploads`
                document = read_json(request.body)
            if plan.payload is None:
                params |= plan.body(document)
            elif document:
                params[plan.payload] = plan.body(document)
        return params

    def read(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        plan = self._inputs.get(match.operation) or self._compile_input(match.operation)
        if plan.payload is None or not plan.head_decides:
            params = self.parse(match, request, document)
            self.model.validate(match.operation, params)
            return params
        head = (match.operation, request.target, *map(request.fields.get, plan.header_names))
        known = self._heads.get(head)
        if known is None:
            known = self.parse(match, request, document)
            self.model.validate(match.operation, known)
            if sum(len(each) for each in head if each) <= _HEAD_CHARS and all(type(each) in _IMMUTABLE for each in known.values()):
                if len(self._heads) >= _HEADS:
                    self._heads.clear()
                self._heads[head] = known | {plan.payload: b""}
        params = known.copy()
        params[plan.payload] = request.body
        return params

    def respond(self, operation: str, result: dict[str, Any], request_id: str) -> HttpResponse:
        plan = self._outputs.get(operation) or self._compile_output(operation)
        status = int(result.get(plan.status_member) or plan.status) if plan.status_member else plan.status
        headers = [_JSON if plan.events is None else _EVENTS, ("x-amzn-requestid", request_id)]
        for member, name, convert in plan.headers:
            value = result.get(member)
            if value is not None:
                headers.append((name, convert(value)))
        if plan.raw and plan.payload:
            return HttpResponse(status, headers, result.get(plan.payload) or b"")  # or a stream
        if plan.events is not None and plan.payload in result:
            return HttpResponse(status, headers, EncodedEvents(plan.events, result[plan.payload]))
        if plan.body is None or status == 204:
            return HttpResponse(status, headers)
        value = result.get(plan.payload) if plan.payload else result
        return HttpResponse(status, headers, write_json(plan.body(value or {})))

    def fail(self, error: ApiError, request_id: str) -> HttpResponse:
        members, headers = error_body(self.model, error, typed=True)
        headers = [_JSON, ("x-amzn-requestid", request_id), ("x-amzn-errortype", error.code), *headers]
        return HttpResponse(error.status, headers, write_json(members))

    def _compile_input(self, operation: str) -> InputPlan:
        shape = self.model.operation(operation).input_shape
        plan = InputPlan([], [], [], None, False, None)
        if shape is not None:
            payload = shape.serialization.get("payload")
            payload_shape = shape.members[payload] if payload else None
            raw = payload_shape is not None and payload_shape.type_name in ("blob", "string")
            plan = InputPlan(
                labels=[(member, name, _text_parser(inner)) for member, name, inner in _located(shape, "uri")],
                query=[(member, name, _query_parser(inner)) for member, name, inner in _located(shape, "querystring")],
                headers=[(member, name.lower(), _text_parser(inner)) for member, name, inner in _located(shape, "header")],
                payload=payload,
                raw=raw,
                body=None if raw else self._body(shape, payload_shape, parse=True),
            )
            names = tuple(name for _, name, _ in plan.headers)
            free = payload_shape is not None and raw and self.model.constraints.check(payload_shape) is None
            plan = replace(plan, header_names=names, head_decides=free)
        self._inputs[operation] = plan
        return plan

    def _compile_output(self, operation: str) -> OutputPlan:
        model = self.model.operation(operation)
        shape = model.output_shape
        plan = OutputPlan(model.http.get("responseCode", 200), None, [], None, False, None)
        if shape is not None:
            payload = shape.serialization.get("payload")
            payload_shape = shape.members[payload] if payload else None
            raw = payload_shape is not None and payload_shape.type_name in ("blob", "string")
            has_events = payload_shape is not None and bool(payload_shape.serialization.get("eventstream"))
            plan = OutputPlan(
                status=plan.status,
                status_member=next((member for member, _, _ in _located(shape, "statusCode")), None),
                headers=[
                    (member, name, _text_renderer(inner))
                    for member, name, inner in _located(shape, "header")
                    if not (has_events and name.lower() == "content-type")  # that is the stream's
                ],
                payload=payload,
                raw=raw,
                body=None if raw or has_events else self._body(shape, payload_shape, parse=False),
                events=EventStream(self.model, operation) if has_events else None,
            )
        self._outputs[operation] = plan
        return plan

    def _body(self, shape: Shape, payload: Shape | None, *, parse: bool) -> Convert | None:
        shapes = self.model.shapes
        compiled = shapes.parser if parse else shapes.renderer
        if payload is not None:
            return compiled(payload)
        members = [(member, name, compiled(inner)) for member, name, inner in _located(shape, None)]
        if not members:
            return None
        return structure_parser(members) if parse else structure_renderer(members)


def _located(shape: Shape, location: str | None) -> list[tuple[str, str, Shape]]:
    members = shape.members.items()
    return [
        (name, inner.serialization.get("name", name), inner) for name, inner in members if inner.serialization.get("location") == location
    ]


def _parse_query(query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=1000)
    except ValueError as error:
        raise SerializationError(str(error)) from None


def _text_parser(shape: Shape) -> Convert:
    """Make the parser of a text in a path, query or header."""
    kind = shape.type_name
    if kind == "timestamp":
        return _parse_time
    if kind == "boolean":
        return lambda text: text.strip().lower() == "true"
    if kind not in ("integer", "long", "float", "double"):
        return str
    number: Callable[[str], int | float] = int if kind in ("integer", "long") else float

    def parse(text: str) -> int | float:
        try:
            return number(text[:64])
        except ValueError:
            raise SerializationError(f"'{text[:64]}' can not be converted to {'an Integer' if number is int else 'a Double'}") from None

    return parse


def _query_parser(shape: Shape) -> Callable[[list[str]], Any]:
    if shape.type_name == "list":
        item = _text_parser(shape.member)
        return lambda values: [item(value) for value in values]
    convert = _text_parser(shape)
    return lambda values: convert(values[0])


def _parse_time(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return from_iso(text)


def _text_renderer(shape: Shape) -> Convert:
    if shape.type_name == "timestamp":
        return lambda value: format_datetime(to_datetime(value), usegmt=True)
    if shape.type_name == "boolean":
        return lambda value: "true" if value else "false"
    return str
