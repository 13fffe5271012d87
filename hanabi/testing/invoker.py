"""A base for fake invokers: a test implements `invoke`."""

import asyncio

from hanabi.base.tasks import Tasks
from hanabi.contracts.invocation import Cancellable, Invocation, OnResult, Result


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
