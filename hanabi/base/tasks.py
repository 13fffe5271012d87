"""Owned tasks, single-flight work, and futures that are settled once."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
log = logging.getLogger(__name__)


def settle(future: "asyncio.Future[Any]", outcome: Any = None) -> None:
    """Give a future its result, or its exception when `outcome` is one; nothing when it is done (its caller was cancelled)."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # mark it as retrieved: no caller may be waiting
    else:
        future.set_result(outcome)


async def cancel_and_wait(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel tasks and wait until each has ended, however it ends."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def wait_for_end(future: "asyncio.Future[Any]") -> None:
    """Wait until a future is done, even if the caller is cancelled meanwhile: for callers that are handling a cancellation already.

    The result or exception is left in the future.
    """
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    _retrieve(future)


class Tasks:
    """The tasks of one owner: each is kept until it ends, an exception that nobody awaits is logged, and all end with the owner.

    `owner` names them in the log, as in "fleet task failed".
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> "Iterator[asyncio.Task[Any]]":
        return iter(list(self._tasks))

    def spawn(self, work: Coroutine[Any, Any, Result], name: str | None = None) -> "asyncio.Task[Result]":
        """Start a task of which nobody awaits the result: an exception is logged."""
        task = self.own(work, name)
        task.add_done_callback(self._report)
        return task

    def own(self, work: Coroutine[Any, Any, Result], name: str | None = None) -> "asyncio.Task[Result]":
        """Start a task whose result, or exception, the caller awaits."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, work: Coroutine[Any, Any, Result], name: str | None = None) -> Result:
        """Run work to its end, even if the caller is cancelled, and return its result."""
        task = self.own(work, name)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def cancel(self) -> None:
        """Cancel all tasks and wait until each has ended."""
        await cancel_and_wait(self._tasks)

    async def join(self) -> None:
        """Wait until no task is left, new ones included: for work that must not be cancelled half-way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _report(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s task failed: %s", self._owner, task.get_name(), exc_info=error)


class SingleFlight(Generic[Key, Result]):
    """Work that runs at most once at a time for each key: callers that arrive meanwhile share its result or exception.

    Cancelling a caller does not cancel the work. `on_end(key)` is called when the work has ended. `closed` makes
    the exception for callers whose work is cancelled by `close`; without it they get `asyncio.CancelledError`.
    """

    def __init__(self, on_end: Callable[[Key], None] | None = None, *, closed: Callable[[], Exception] | None = None) -> None:
        self._on_end = on_end
        self._closed = closed
        self._tasks: dict[Key, asyncio.Task[Result]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: Key) -> bool:
        return key in self._tasks

    async def run(self, key: Key, work: Callable[[], Coroutine[Any, Any, Result]], name: str | None = None) -> Result:
        """Return the result of the running work for `key`, else of `work()`, started now."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(work(), name=name)
            task.add_done_callback(lambda done: self._end(key, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if self._closed is not None and task.cancelled() and (current is None or not current.cancelling()):
                raise self._closed() from None
            raise

    async def join(self) -> None:
        """Wait until no work is running."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """Cancel running work, and wait until it has ended."""
        await cancel_and_wait(self._tasks.values())

    def _end(self, key: Key, task: "asyncio.Task[Result]") -> None:
        del self._tasks[key]
        _retrieve(task)
        if self._on_end is not None:
            self._on_end(key)


def _retrieve(task: "asyncio.Future[Any]") -> None:
    """Mark the exception as retrieved: callers have it, or none waits any more."""
    if not task.cancelled():
        task.exception()
