"""Function URLs with InvokeMode RESPONSE_STREAM: the prelude, the body as it comes, and functions that fail early, late or hostilely."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hanabi.contracts.http import HttpResponse
from hanabi.contracts.invocation import Invocation, StreamedResult
from hanabi.errors import BodyIncomplete, ShuttingDown, TooManyRequests
from hanabi.frontends.function_urls.streamed_response import PRELUDE_BYTES, PRELUDE_TYPE
from hanabi.testing.invoker import FakeStreamedResult
from tests.unit.frontends.function_urls.test_event import make_request
from tests.unit.frontends.function_urls.test_handler import CORS, ORIGIN, Config, OneUrl
from tests.unit.triggers.support import make_result

END = bytes(8)


class StreamingUrl(OneUrl):
    """A URL whose function answers with these pieces, then with an error or not."""

    def __init__(self, *pieces: bytes, content_type: str = PRELUDE_TYPE, error: str | Exception | None = None, cors: Any = None) -> None:
        super().__init__(Config(streams=True, cors=cors))
        self.pieces = pieces
        self.content_type = content_type
        self.error = error
        self.streamed: FakeStreamedResult | None = None

    async def stream(self, invocation: Invocation) -> StreamedResult:
        self.seen.append(invocation)
        result = self.error if isinstance(self.error, Exception) else make_result(invocation, self.error, b"")
        self.streamed = FakeStreamedResult(result, self.content_type, self._pieces())
        return self.streamed

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    async def get(self) -> HttpResponse:
        return await self.ask(make_request(headers=[ORIGIN]))


async def body_of(response: HttpResponse) -> bytes:
    assert not isinstance(response.body, bytes)
    content = b"".join([piece async for piece in response.body])
    await response.body.aclose()
    return content


def prelude(**members: Any) -> bytes:
    return json.dumps(members).encode() + END


async def test_status_headers_and_cookies_come_from_the_prelude() -> None:
    head = {"x-own": "1", "Content-Type": "text/html", "content-length": "3", "x-two": ["a", "b"], "connection": "close"}
    urls = StreamingUrl(prelude(statusCode=201, headers=head, cookies=["a=1; Path=/", "b=2"]) + b"Hello,", b" world!", cors=CORS)
    response = await urls.get()
    assert response.status == 201 and await body_of(response) == b"Hello, world!"
    assert urls.streamed is not None and urls.streamed.is_closed and urls.seen[0].source == "url"
    named = [(name.lower(), value) for name, value in response.headers]
    assert [value for name, value in named if name in ("set-cookie", "x-two")] == ["a", "b", "a=1; Path=/", "b=2"]
    fields = dict(named)
    assert (fields["content-type"], fields["x-own"], fields["x-amzn-requestid"]) == ("text/html", "1", urls.seen[0].request_id)
    assert fields["access-control-allow-origin"] == ORIGIN[1] and not {"content-length", "connection"} & fields.keys()


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_a_prelude_in_pieces_and_a_body_with_nul_bytes(size: int) -> None:
    content = prelude(statusCode=200) + b"a" + END + END + b"b"
    response = await StreamingUrl(*[content[at : at + size] for at in range(0, len(content), size)]).get()
    assert await body_of(response) == b"a" + END + END + b"b"


async def test_what_a_prelude_need_not_say() -> None:
    response = await StreamingUrl(prelude(status=404) + b"x").get()  # recorded on AWS
    assert (response.status, dict(response.headers)["content-type"]) == (200, "application/octet-stream")
    assert await body_of(response) == b"x"


async def test_one_without_a_prelude() -> None:
    response = await StreamingUrl(b'{"statusCode": 404}', content_type="text/event-stream").get()
    assert (response.status, dict(response.headers)["content-type"]) == (200, "text/event-stream")
    assert await body_of(response) == b'{"statusCode": 404}'


async def test_a_whole_answer_is_sent_as_it_is() -> None:
    """Recorded on AWS: a handler that does not stream, behind a URL that does."""
    urls = OneUrl(Config(streams=True), b'{"statusCode": 404, "body": "x"}')
    response = await urls.ask(make_request())
    assert (response.status, dict(response.headers)["content-type"]) == (200, "application/json")
    assert await body_of(response) == b'{"statusCode": 404, "body": "x"}'


async def test_an_empty_answer() -> None:
    response = await StreamingUrl(content_type="text/plain").get()
    assert response.status == 200 and await body_of(response) == b""


@pytest.mark.parametrize("content_type", [PRELUDE_TYPE, "text/plain"])
async def test_an_error_before_the_first_byte(content_type: str) -> None:
    urls = StreamingUrl(content_type=content_type, error="Unhandled")
    response = await urls.get()
    assert (response.status, response.body) == (502, b"Internal Server Error")


@pytest.mark.parametrize("error", ["Unhandled", ShuttingDown()])
async def test_an_error_in_the_middle_cuts_the_body(error: str | Exception) -> None:
    response = await StreamingUrl(prelude() + b"one", error=error).get()
    assert response.status == 200 and not isinstance(response.body, bytes)
    assert await anext(response.body) == b"one"
    with pytest.raises(BodyIncomplete):
        await anext(response.body)


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"{}",),
        (b"no json" + END,),
        (b"[]" + END,),
        (prelude(statusCode=99),),
        (prelude(statusCode="x"),),
        (prelude(headers={"x": "a\r\nset-cookie: b=c"}),),
        (prelude(headers={"x y": "a"}),),
        (prelude(headers={"x": [["a"]]}),),
        (prelude(cookies="a=b"),),
        (b"[" * 5000 + END,),
        (b"[" + b"1," * 30_000 + END,),
        (b"x" * PRELUDE_BYTES,) * 3,
        (b" " * (PRELUDE_BYTES + 1) + b"{}" + END,),
    ],
)
async def test_a_prelude_that_is_none(pieces: tuple[bytes, ...]) -> None:
    urls = StreamingUrl(*pieces)
    response = await urls.get()
    assert (response.status, response.body) == (502, b"Internal Server Error")
    assert urls.streamed is not None and urls.streamed.is_closed


async def test_a_content_type_that_would_be_another_header() -> None:
    response = await StreamingUrl(b"x", content_type="text/plain\r\nset-cookie: a=b").get()
    assert response.status == 502


async def test_what_is_refused_before_the_function_runs() -> None:
    urls = StreamingUrl()

    async def refuse(invocation: Invocation) -> StreamedResult:
        raise TooManyRequests("ConcurrentInvocationLimitExceeded")

    urls.stream = refuse  # type: ignore[method-assign]
    assert (await urls.get()).status == 429


async def test_a_url_that_takes_answers_whole_gets_the_prelude_with_it() -> None:
    """A streaming handler behind InvokeMode BUFFERED: no head is read from what it wrote."""
    content = prelude(statusCode=404) + b"x"
    response = await OneUrl(answer=content).ask(make_request())
    assert (response.status, response.body) == (200, content)
