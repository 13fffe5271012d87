"""The json 1.0/1.1 protocol (CloudWatch Logs): a header names the operation."""

from typing import Any

from botocore.model import StructureShape

from hanabi.contracts.http import HttpRequest, HttpResponse
from hanabi.edge.protocols.codec import Match, error_body, read_json, write_json
from hanabi.edge.protocols.event_stream import CONTENT_TYPE, EncodedEvents, EventStream, encode_message
from hanabi.edge.protocols.model import Model
from hanabi.errors import ApiError, NotImplementedOperation, RequestEntityTooLarge, UnknownOperation, ValidationError


class Json11:
    matches_body = False

    def __init__(self, model: Model) -> None:
        self.model = model
        metadata = model.botocore.metadata
        self._prefix = f"{metadata['targetPrefix']}."
        self._type = ("content-type", f"application/x-amz-json-{metadata['jsonVersion']}")
        self._operations = frozenset(model.operation_names)
        self._streams: dict[str, tuple[str, EventStream] | None] = {}  # operation -> the member of its result that is a stream

    def match(self, request: HttpRequest) -> Match:
        target = request.header("x-amz-target")
        operation = target.removeprefix(self._prefix)
        if request.method != "POST" or operation == target or operation not in self._operations:
            raise UnknownOperation("")
        return Match(operation)

    def parse(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        shape = self.model.operation(match.operation).input_shape
        if shape is None:
            return {}
        if document is None:
            assert isinstance(request.body, bytes)
            document = read_json(request.body)
        params: dict[str, Any] = self.model.shapes.parser(shape)(document)
        return params

    def read(self, match: Match, request: HttpRequest, document: Any) -> dict[str, Any]:
        params = self.parse(match, request, document)
        self.model.validate(match.operation, params)
        return params

    def respond(self, operation: str, result: dict[str, Any], request_id: str) -> HttpResponse:
        headers = [self._type, ("x-amzn-requestid", request_id)]
        shape = self.model.operation(operation).output_shape
        if shape is None:
            return HttpResponse(200, headers)
        stream = self._stream(operation, shape)
        if stream is not None:
            member, events = stream
            others = self.model.shapes.renderer(shape)({name: value for name, value in result.items() if name != member})
            first = encode_message(
                [(":message-type", "event"), (":event-type", "initial-response"), (":content-type", self._type[1])], write_json(others)
            )
            headers[0] = ("content-type", CONTENT_TYPE)
            return HttpResponse(200, headers, EncodedEvents(events, result[member], first))
        return HttpResponse(200, headers, write_json(self.model.shapes.renderer(shape)(result)))

    def _stream(self, operation: str, shape: StructureShape) -> tuple[str, EventStream] | None:
        if operation not in self._streams:
            member = shape.event_stream_name
            self._streams[operation] = (member, EventStream(self.model, operation)) if member else None
        return self._streams[operation]

    def fail(self, error: ApiError, request_id: str) -> HttpResponse:
        members, _ = error_body(self.model, error, typed=False)
        code = (
            "InvalidParameterException"
            if isinstance(error, ValidationError) and "InvalidParameterException" in self.model.errors
            else error.code
        )
        own_status = isinstance(error, NotImplementedOperation | RequestEntityTooLarge) or error.status >= 500
        headers = [self._type, ("x-amzn-requestid", request_id), ("x-amzn-errortype", code)]
        return HttpResponse(error.status if own_status else 400, headers, write_json({"__type": code} | members))
