"""The HTTP response made from a streamed answer, while the function makes it: of function URLs with InvokeMode RESPONSE_STREAM.

An answer of one content type begins with a prelude, JSON with status, headers and cookies, then eight NUL bytes. All others are the body.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
"""

import json
from typing import Self

from hanabi.contracts.http import HttpResponse
from hanabi.contracts.invocation import StreamedResult
from hanabi.errors import ApiError, BodyIncomplete
from hanabi.frontends.function_urls.response import STREAM, MalformedResponse, read_headers, read_status
from hanabi.http.json_size import has_too_many_values

PRELUDE_TYPE = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = bytes(8)
PRELUDE_BYTES = 64 * 1024  # at most: what is larger would be no head that clients take


async def make_streamed_response(streamed: StreamedResult) -> HttpResponse | None:
    """Make the response of an answer that has begun; None: it failed before its first byte. Raises `MalformedResponse`.

    The answer is closed by whoever sends the response, or here when there is none.
    """
    try:
        return await _make(streamed)
    except BaseException:
        await streamed.aclose()
        raise


async def _make(streamed: StreamedResult) -> HttpResponse | None:
    if streamed.content_type != PRELUDE_TYPE:
        first = await anext(streamed, b"")
        if not first and (await streamed.end()).function_error is not None:
            return None
        headers = read_headers({"headers": {"content-type": streamed.content_type}}, STREAM)
        return HttpResponse(200, headers, StreamedBody(first, streamed))
    start = bytearray()
    while (end := start.find(PRELUDE_END)) < 0:
        if len(start) > PRELUDE_BYTES:
            raise MalformedResponse("the streamed answer has no end of its prelude")
        piece = await anext(streamed, None)
        if piece is None:
            if (await streamed.end()).function_error is not None:
                return None
            raise MalformedResponse("the streamed answer ends within its prelude")
        start += piece
    status, headers = _read_prelude(bytes(start[:end]))
    return HttpResponse(status, headers, StreamedBody(bytes(start[end + len(PRELUDE_END) :]), streamed))


def _read_prelude(text: bytes) -> tuple[int, list[tuple[str, str]]]:
    if len(text) > PRELUDE_BYTES or has_too_many_values(text):
        raise MalformedResponse("the prelude is too large")
    try:
        prelude = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedResponse(f"the prelude is not JSON: {error}") from None
    if not isinstance(prelude, dict):
        raise MalformedResponse("the prelude is no object")
    status = read_status(prelude.get("statusCode", 200))
    return status, read_headers(prelude, STREAM, several=True)


class StreamedBody:
    """The body: what came with the prelude, then the rest. Raises `BodyIncomplete` if the function fails in its middle."""

    def __init__(self, first: bytes, rest: StreamedResult) -> None:
        self._first = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        piece = await anext(self._rest, None)
        if piece is not None:
            return piece
        try:
            error = (await self._rest.end()).function_error
        except ApiError as stopped:
            error = stopped.code
        if error is not None:
            raise BodyIncomplete("the function failed in the middle of its answer")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._first = b""
        await self._rest.aclose()
