"""The invocation loop: receive, call the handler, answer. This is the warm path."""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import Any, NoReturn

from hanabi_runtime import logs
from hanabi_runtime.channel import BundledChannel, Invocation
from hanabi_runtime.context import LambdaContext
from hanabi_runtime.encoding import encode_text
from hanabi_runtime.errors import RuntimeFailure, describe_exception
from hanabi_runtime.function import Handler
from hanabi_runtime.standard import fetch
from hanabi_runtime.streaming import GENERATORS, send_all, send_all_async

_asyncio: Any = None
_runner: Any = None  # keeps one event loop for all async handlers, so that their sessions outlive an invocation


def serve(channel: BundledChannel, handler: Handler) -> NoReturn:
    while True:
        request = channel.receive_invocation()
        logs.request_id, logs.tenant_id = request.request_id, request.tenant_id
        if request.trace:
            os.environ["_X_AMZN_TRACE_ID"] = request.trace
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        try:
            result = call(handler, request)
            if isinstance(result, bytes):
                kind, answer = b"o", result
            else:
                stream(channel, result)
                kind, answer = b"d", b""
        except RuntimeFailure as fault:
            error = fault.describe(request.request_id)
        except Exception as exception:
            error = describe_exception(exception, request.request_id)
        else:
            channel.answer(kind, answer)
            continue
        logs.log_error(error)
        channel.answer(b"f", encode_text(error).encode(errors="backslashreplace"))


def call(handler: Handler, request: Invocation) -> bytes | Generator[Any, None, None] | AsyncGenerator[Any, None]:
    """The encoded result of one call, or a generator of it. Raises `RuntimeFailure`, or what the handler raises."""
    context = LambdaContext(request)
    try:
        event = json.loads(str(request.payload, "utf-8"))
    except Exception as error:
        raise RuntimeFailure("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None
    result = handler(event, context)
    if hasattr(type(result), "__await__"):
        result = run_async(result)
    if type(result) in GENERATORS:
        generator: Generator[Any, None, None] | AsyncGenerator[Any, None] = result
        return generator
    return bytes(result) if isinstance(result, bytes) else encode(result)


def stream(channel: BundledChannel, values: Generator[Any, None, None] | AsyncGenerator[Any, None]) -> None:
    """Send what a generator yields. Raises what it raises."""
    if isinstance(values, Generator):
        send_all(channel, values, encode)
    else:
        run_async(send_all_async(channel, values, encode))


def encode(result: Any) -> bytes:
    try:
        return encode_text(result).encode()
    except Exception as error:
        raise RuntimeFailure("Runtime.MarshalError", f"Unable to marshal response: {error}") from None


def run_async(result: Awaitable[Any]) -> Any:
    """The result of an async handler: Lambda has none in Python, Hanabi does."""
    global _asyncio, _runner
    if _runner is None:
        _asyncio = fetch("asyncio")
        _runner = _asyncio.Runner()
    try:
        return _runner.run(_await(result))
    except _asyncio.CancelledError as error:  # no Exception, but no reason to end the process either
        raise RuntimeFailure("CancelledError", str(error)) from None


async def _await(result: Awaitable[Any]) -> Any:
    return await result
