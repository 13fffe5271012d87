"""The Runtime API over real HTTP: the conversation of a custom runtime, and what it may not say."""

import asyncio
import json
from dataclasses import replace

import pytest

from hanabi.quotas import RESPONSE_PAYLOAD_BYTES
from hanabi.runtime.api import REPEATS
from hanabi.runtime.session import TOO_LARGE
from tests.unit.runtime.host import Story, invocation
from tests.unit.runtime.served import Runtime, serving

NEXT = "/2018-06-01/runtime/invocation/next"
RESPONSE = "/2018-06-01/runtime/invocation/id-1/response"
ERROR = "/2018-06-01/runtime/invocation/id-1/error"
INIT_ERROR = "/2018-06-01/runtime/init/error"


async def take(story: Story, runtime: Runtime, payload: bytes = b"{}", *, trace: str = "", client_context: str = "") -> tuple[int, bytes]:
    """Ask for the next invocation, which comes while the question waits."""
    asked = asyncio.create_task(runtime.ask("GET", NEXT))
    while (await story.happens())[0] != "ready":
        pass
    story.session.invoke(invocation(payload, trace=trace, client_context=client_context, on_stream=story.on_stream))
    return await asked


async def test_the_first_next_is_ready_and_invocations_go_round() -> None:
    async with serving() as (story, runtime):
        for number in range(3):
            status, body = await take(story, runtime, b'{"n":1}', trace="Root=1-a", client_context='{"custom":\n{"k":"ü"}}')
            assert (status, body) == (200, b'{"n":1}')
            assert runtime.headers["lambda-runtime-aws-request-id"] == "id-1"
            assert runtime.headers["lambda-runtime-deadline-ms"] == "4000000000000"
            assert runtime.headers["lambda-runtime-invoked-function-arn"].endswith(":function:demo")
            assert runtime.headers["lambda-runtime-trace-id"] == "Root=1-a"
            assert json.loads(runtime.headers["lambda-runtime-client-context"]) == {"custom": {"k": "ü"}}
            assert await runtime.ask("POST", RESPONSE, b"%d" % number) == (202, b'{"status":"OK"}\n')
            assert story.session.held_answer() == (b"%d" % number, None)
        asked = asyncio.create_task(runtime.ask("GET", NEXT))
        assert await story.happens() == ("result", b"2") and await story.happens() == ("ready",)
        story.session.invoke(invocation())
        await asked
        assert "lambda-runtime-trace-id" not in runtime.headers


async def test_a_tenant_is_named() -> None:
    async with serving() as (story, runtime):
        asked = asyncio.create_task(runtime.ask("GET", NEXT))
        while (await story.happens())[0] != "ready":
            pass
        plain = invocation(b"{}", on_stream=story.on_stream)
        route = replace(plain.route, version=replace(plain.route.version, tenant="blue:1"))
        story.session.invoke(replace(plain, route=route))
        assert (await asked)[0] == 200 and runtime.headers["lambda-runtime-aws-tenant-id"] == "blue:1"


async def test_errors() -> None:
    async with serving() as (story, runtime):
        for header, expected in [("Runtime.Mine", "Runtime.Mine"), ("unhandled\t", "E"), ("", "E")]:
            await take(story, runtime)
            body = b'{"errorMessage":"m","errorType":"E"}'
            assert (await runtime.ask("POST", ERROR, body, Lambda_Runtime_Function_Error_Type=header))[0] == 202
            assert story.session.held_answer() == (body, expected)


async def test_wrong_ids_and_wrong_orders() -> None:
    async with serving() as (story, runtime):
        invalid = (400, b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}')
        assert await runtime.ask("POST", RESPONSE, b"1") == invalid
        await take(story, runtime)
        assert await runtime.ask("POST", RESPONSE.replace("id-1", "id-2"), b"1") == invalid
        assert await runtime.ask("POST", RESPONSE.replace("id-1", "id-2"), bytes(RESPONSE_PAYLOAD_BYTES + 1)) == invalid
        runtime.connection.close()
        assert (await runtime.ask("GET", NEXT))[0] == 200  # the same one again
        assert (await runtime.ask("POST", RESPONSE, b"1"))[0] == 202
        for path in (RESPONSE, ERROR, INIT_ERROR):
            status, body = await runtime.ask("POST", path, b"{}")
            assert (status, json.loads(body)["errorType"]) == (403, "InvalidStateTransition")
        assert (await runtime.ask("GET", "/2018-06-01/runtime/nothing"))[0] == 404
        assert (await runtime.ask("PUT", "/else"))[0] == 404


async def test_an_init_error() -> None:
    async with serving() as (story, runtime):
        assert (await runtime.ask("POST", INIT_ERROR, b'{"errorType":"E"}', Lambda_Runtime_Function_Error_Type="Runtime.Bad"))[0] == 202
        assert await story.happens() == ("init error", b'{"errorType":"E"}', "Runtime.Bad")
        assert (await runtime.ask("GET", NEXT))[0] == 403


async def test_chunked_streams_are_collected_and_other_modes_refused() -> None:
    async with serving() as (story, runtime):
        await take(story, runtime)
        chunks = [b'{"statusCode":200}', bytes(8), b"body"]
        sent = await runtime.ask("POST", RESPONSE, chunks, Transfer_Encoding="chunked", Lambda_Runtime_Function_Response_Mode="streaming")
        assert sent[0] == 202
        assert story.session.held_answer() == (b"".join(chunks), None)
        await take(story, runtime)
        status, body = await runtime.ask("POST", RESPONSE, b"1", Lambda_Runtime_Function_Response_Mode="other")
        assert (status, json.loads(body)["errorType"]) == (400, "InvalidFunctionResponseMode")
        assert story.session.held_answer() == (b"", "Runtime.InvalidResponseModeHeader")


@pytest.mark.parametrize(
    ("trailers", "held"),
    [
        (["Error-Type: Runtime.Mine", "Error-Body: eyJhIjoxfQ=="], (b'{"a":1}', "Runtime.Mine")),
        (["error-type: Mine", "Error-Body: not base64"], (b"", "Runtime.Unknown")),
        (["Error-Type: Function.Mine"], (b"", "Function.Mine")),
        (["Error-Body: eyJhIjoxfQ==", "Other: x"], (b"begun", None)),
    ],
)
async def test_trailers_tell_of_a_failure_after_the_answer_has_begun(trailers: list[str], held: tuple[bytes, str | None]) -> None:
    async with serving() as (story, runtime):
        await take(story, runtime)
        reader, writer = await asyncio.open_connection("127.0.0.1", runtime.connection.port)
        head = [
            f"POST {RESPONSE} HTTP/1.1",
            "Host: x",
            "Transfer-Encoding: chunked",
            "Lambda-Runtime-Function-Response-Mode: streaming",
        ]
        lines = [*head, "", "5", "begun", "0", *(f"Lambda-Runtime-Function-{trailer}" for trailer in trailers), "", ""]
        writer.write("\r\n".join(lines).encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 202")
        writer.close()
        assert story.session.held_answer() == held


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_over_the_limit_fails_the_invocation_and_the_runtime_goes_on(chunked: bool) -> None:
    async with serving() as (story, runtime):
        await take(story, runtime)
        assert (await runtime.ask("POST", RESPONSE, bytes(RESPONSE_PAYLOAD_BYTES)))[0] == 202
        await take(story, runtime)
        parts = [bytes(65536)] * 97 if chunked else bytes(RESPONSE_PAYLOAD_BYTES + 1)
        status, body = await runtime.ask("POST", RESPONSE, parts, **({"Transfer_Encoding": "chunked"} if chunked else {}))
        message = "Exceeded maximum allowed payload size (6291556 bytes)."
        assert (status, json.loads(body)) == (413, {"errorMessage": message, "errorType": "RequestEntityTooLarge"})
        runtime.connection.close()
        asked = asyncio.create_task(runtime.ask("GET", NEXT))
        happened = await story.happens()
        assert happened[0] == "error" and happened[2] == TOO_LARGE
        assert await story.happens() == ("ready",)
        story.session.invoke(invocation(b"9"))
        assert await asked == (200, b"9")


async def test_the_same_invocation_is_not_given_out_without_end() -> None:
    async with serving() as (story, runtime):
        await take(story, runtime, b"x" * 1000)
        answers = [(await runtime.ask("GET", NEXT))[0] for _ in range(REPEATS + 2)]
        assert answers == [200] * REPEATS + [403] * 2


async def test_who_hung_up_gets_the_invocation_when_it_asks_again() -> None:
    async with serving() as (story, runtime):
        port = runtime.connection.port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {NEXT} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert await story.happens() == ("ready",)
        writer.close()
        await writer.wait_closed()
        story.session.invoke(invocation(b"5"))
        assert story.session.lost(None)  # nobody has it yet: should the runtime end now, another one may
        assert (await runtime.ask("GET", NEXT)) == (200, b"5")
        assert not story.session.lost(None)


async def test_beside_a_bundled_runtime_nobody_may_speak() -> None:
    async with serving(bundled=True) as (story, runtime):
        for method, path in [("GET", NEXT), ("POST", RESPONSE), ("POST", INIT_ERROR)]:
            assert (await runtime.ask(method, path))[0] == 403
        assert story.so_far() == []


async def test_only_extensions_may_subscribe_to_telemetry() -> None:
    async with serving() as (_, runtime):
        for path in ("/2022-07-01/telemetry", "/2022-07-01/telemetry/", "/2020-08-15/logs"):
            got, body = await runtime.ask("PUT", path, b"{}")
            assert (got, json.loads(body)["errorType"]) == (403, "Extension.MissingExtensionIdentifier")
            assert (await runtime.ask("GET", path))[0] == 405
