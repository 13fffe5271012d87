"""InvokeWithResponseStream: the answer as events, while the function makes it."""

import base64
from collections.abc import Mapping
from typing import Any, Self

from hanabi.contracts.invocation import Result, StreamedResult

ERROR_CODE = "Unhandled"  # what FunctionError is in the answer of Invoke
DETAILS_BYTES = 1 << 20  # of an error that a function words itself


class ResponseEvents:
    """The events of one answer: `PayloadChunk`s, then `InvokeComplete`. They are `event_stream.Events`."""

    def __init__(self, streamed: StreamedResult) -> None:
        self._streamed = streamed
        self._completed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Mapping[str, Any]]:
        if self._completed:
            raise StopAsyncIteration
        piece = await anext(self._streamed, None)
        if piece is not None:
            return "PayloadChunk", {"Payload": piece}
        self._completed = True
        return "InvokeComplete", _complete(await self._streamed.end())

    async def aclose(self) -> None:
        self._completed = True
        await self._streamed.aclose()


def _complete(result: Result) -> Mapping[str, Any]:
    members: dict[str, Any] = {}
    if result.function_error is not None:
        assert isinstance(result.payload, bytes)
        members = {"ErrorCode": ERROR_CODE, "ErrorDetails": result.payload[:DETAILS_BYTES].decode("utf-8", "replace")}
    if result.log_tail:
        members["LogResult"] = base64.b64encode(result.log_tail).decode()
    return members
