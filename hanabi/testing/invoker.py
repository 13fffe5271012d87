"""A base for fake invokers: a test implements `invoke`, and gives `pieces` to those that stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from hanabi.base.tasks import Tasks
from hanabi.contracts.invocation import Cancellable, Invocation, OnResult, Result, StreamedResult


class FakeInvoker:
    """`start` runs `invoke` in a task."""

    async def invoke(self, invocation: Invocation) -> Result:
        raise NotImplementedError

    def start(self, invocation: Invocation, on_end: OnResult) -> Cancellable:
        def ended(task: "asyncio.Task[Result]") -> None:
            if not task.cancelled():
                error = task.exception()
                on_end(task.result() if error is None else error if isinstance(error, Exception) else RuntimeError(repr(error)))

        tasks: Tasks = self.__dict__.setdefault("_tasks", Tasks("fake invoker"))
        task = tasks.own(self.invoke(invocation))
        task.add_done_callback(ended)
        return task

    async def stream(self, invocation: Invocation) -> StreamedResult:
        return FakeStreamedResult(await self.invoke(invocation))


class FakeStreamedResult:
    """A `StreamedResult`: of a whole answer, or of pieces that end as the result says."""

    def __init__(
        self, result: Result | Exception, content_type: str = "application/json", pieces: AsyncIterator[bytes] | None = None
    ) -> None:
        self.content_type = content_type
        self.is_closed = False
        self._result = result
        self._pieces = pieces if pieces is not None else _whole(result)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        self.is_closed = True

    async def end(self) -> Result:
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def _whole(result: Result | Exception) -> AsyncIterator[bytes]:
    if isinstance(result, Result) and result.function_error is None and isinstance(result.payload, bytes):
        yield result.payload
