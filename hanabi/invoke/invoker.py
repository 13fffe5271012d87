"""One invocation from admission to result: the only place where a function is run and recorded.

Callbacks from end to end: an invocation that finds an idle environment makes no task. A cold start or a reset is a task.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.tasks import Tasks, settle
from hanabi.contracts.fleet import Fleet, InitFailed, Lease
from hanabi.contracts.invocation import Invocation, OnResult, Outcome, Result
from hanabi.contracts.journal import Journal
from hanabi.environment.outcome import name_request
from hanabi.errors import ApiError, HanabiError, ServiceError, ShuttingDown
from hanabi.invoke.admission import Admission, ProvisionedUse
from hanabi.invoke.recording import early_result, record
from hanabi.invoke.streaming import StreamedInvocation
from hanabi.quotas import STREAMED_BYTES_PER_S

SHUTDOWN_MESSAGE = "The invocation was ended before its time: Hanabi is shutting down. Please try again."
DISK_FULL_MESSAGE = (
    "The disk of the server is full: there is no room for the record of another invocation, so it was not run. Try again later."
)
log = logging.getLogger(__name__)
REPLACEMENTS_MAX = 3  # tries in environments that end before they read the invocation; then it fails


class LocalInvoker:
    """Runs invocations in this node's fleet. Implements `contracts.Invoker`. `check_role` raises for a role that was deleted."""

    def __init__(
        self,
        fleet: Fleet,
        admission: Admission,
        journal: Journal,
        clock: Clock,
        check_role: Callable[[str], None] = lambda arn: None,
        stream_bytes_per_s: float = STREAMED_BYTES_PER_S,
    ) -> None:
        self.fleet = fleet
        self.admission = admission
        self.journal = journal
        self.clock = clock
        self.tasks = Tasks("invoker")
        self._check_role = check_role
        self._stream_bytes_per_s = stream_bytes_per_s

    @property
    def in_flight(self) -> int:
        """How many admitted invocations have not ended, those waiting for an environment included."""
        return self.admission.total()

    def start(self, invocation: Invocation, on_end: OnResult) -> "InvocationRun":
        """Admit, find an environment, run, record."""
        run = InvocationRun(self, invocation, on_end)
        version = invocation.route.version
        try:
            self._check_role(version.role)
            if self.journal.full:
                raise ServiceError(DISK_FULL_MESSAGE)
            run.entered = self.admission.enter(invocation.route.concurrency, version.key)
        except Exception as error:
            run.ended = True
            on_end(error)
        else:
            run.attempt()
        return run

    async def invoke(self, invocation: Invocation) -> Result:
        """As `start`, for a coroutine. Cancelling it ends the invocation."""
        ended: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        run = self.start(invocation, partial(settle, ended))
        try:
            return await ended
        finally:
            run.cancel()

    async def stream(self, invocation: Invocation) -> StreamedInvocation:
        """Run an invocation until its answer begins. Neither cancelling this nor closing the answer ends the invocation."""
        streamed = StreamedInvocation(self.clock, self._stream_bytes_per_s, self.tasks)
        invocation.on_stream = streamed.on_stream
        self.start(invocation, streamed.on_end)
        await streamed.begin()
        return streamed

    async def close(self) -> None:
        """Refuse invocations that wait for an environment or its reset. Running ones end with their environments."""
        await self.tasks.cancel()


class InvocationRun:
    """One admitted invocation, until its caller has the answer."""

    __slots__ = ("_answered", "_attempts", "_invocation", "_invoker", "_lease", "_on_end", "_task", "ended", "entered")

    def __init__(self, invoker: LocalInvoker, invocation: Invocation, on_end: OnResult) -> None:
        self._invoker = invoker
        self._invocation = invocation
        self._on_end = on_end
        self.entered: ProvisionedUse | bool = False  # what admission counts it as
        self.ended = False
        self._answered = False  # the caller has the answer, though extensions still work on it
        self._attempts = 0
        self._lease: Lease | None = None
        self._task: asyncio.Task[None] | None = None

    def attempt(self) -> None:
        """Run in an idle environment, else in a new one."""
        invoker, invocation = self._invoker, self._invocation
        self._attempts += 1
        try:
            lease = invoker.fleet.take_idle(invocation.route.version.key) if self._attempts <= REPLACEMENTS_MAX else None
            if lease is not None:
                self._lease = lease
                lease.invoke(invocation, self._on_outcome)
                return
        except Exception as error:
            self._fail(error)
        else:
            self._spawn(self._invoke_cold())

    def cancel(self) -> None:
        """End it at once, without an answer. Idempotent; no effect on one that was answered."""
        if self.ended or self._answered:
            return
        self._leave()
        if self._task is not None:
            self._task.cancel()
        self._release(reusable=False)

    async def _invoke_cold(self) -> None:
        version = self._invocation.route.version
        fleet = self._invoker.fleet
        try:
            try:
                lease = await fleet.lease(version)
            except InitFailed:
                # The init runs once more, as part of the invocation and under the function's own timeout: "Failures during the Init phase".
                self._attempts = REPLACEMENTS_MAX + 1
                lease = await fleet.start(version, version.timeout_s, phase="invoke")
        except InitFailed as failed:
            self._lease = None
            name_request(failed.outcome, self._invocation.request_id)
            self._end(self._record(failed.outcome))
        except (HanabiError, OSError) as error:
            self._fail(_as_api_error(error))
        except Exception as error:
            self._fail(error)
        else:
            self._lease, self._task = lease, None
            lease.invoke(self._invocation, self._on_outcome)

    def _on_outcome(self, outcome: Outcome) -> None:
        if self.ended:
            return
        if outcome.pending:
            self._answered = True
            self._on_end(early_result(self._invocation, outcome, int(self._invoker.clock.time() * 1000)))
            return
        if outcome.undelivered and self._attempts <= REPLACEMENTS_MAX:
            if outcome.events:
                self._invoker.journal.log(self._invocation.route.version.record_group, outcome.stream, outcome.events)
            self._release(reusable=False)
            self.attempt()
            return
        result = self._record(outcome)
        if outcome.reusable or outcome.aborted:
            self._release(reusable=outcome.reusable)
            self._end(result)
        else:
            self._spawn(self._reset(result), result)

    async def _reset(self, result: Result | Exception) -> None:
        """Reset the environment after a timeout or crash, before the answer is sent, so that no process of it still runs then."""
        lease = self._lease
        self._release(reusable=lease is not None and await lease.reset())
        self._end(result)

    def _record(self, outcome: Outcome) -> Result | Exception:
        invoker = self._invoker
        try:
            result = record(invoker.journal, self._invocation, outcome, int(invoker.clock.time() * 1000))
        except Exception as error:  # environment and caller must be released even if recording failed
            return error
        return ShuttingDown(SHUTDOWN_MESSAGE) if outcome.aborted else result

    def _release(self, *, reusable: bool) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(reusable=reusable)

    def _fail(self, error: Exception) -> None:
        self._release(reusable=False)
        self._end(error)

    def _end(self, result: Result | Exception) -> None:
        if not self.ended:
            self._leave()
            if not self._answered:
                self._on_end(result)
            elif isinstance(result, Exception) and not isinstance(result, ShuttingDown):
                log.error("the record of invocation %s is lost: %s", self._invocation.request_id, result)

    def _leave(self) -> None:
        self.ended = True
        self._invoker.admission.leave(self._invocation.route.concurrency, self.entered)

    def _spawn(self, work: Coroutine[Any, Any, None], result: Result | Exception | None = None) -> None:
        """Run work in a task. `result`: the answer if the work does not complete."""

        def ended(task: "asyncio.Task[None]") -> None:
            if not self.ended and (task.cancelled() or task.exception() is not None):
                self._release(reusable=False)
                self._end(result or ShuttingDown())

        self._task = self._invoker.tasks.spawn(work, "invocation")
        self._task.add_done_callback(ended)


def _as_api_error(error: Exception) -> ApiError:
    """Map an internal error to an `ApiError` for the caller, keeping its cause."""
    if isinstance(error, ApiError):
        return error
    return ServiceError(f"The execution environment could not be started: {error}")
