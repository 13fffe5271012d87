"""One invocation from admission to result: the only place where a function is run and recorded."""

import asyncio
import json
import logging
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.base.tasks import Tasks
from hanabi.contracts.invocation import Cancellable, Invocation, OnResult, Result
from hanabi.contracts.journal import Journal, Record
from hanabi.environment.environment import Environment
from hanabi.environment.outcome import InitFailed, Outcome, error_payload, timeout_message
from hanabi.errors import ApiError, HanabiError, ServiceError, ShuttingDown
from hanabi.fleet.fleet import Fleet
from hanabi.invoke.admission import Admission
from hanabi.ledger.report import billed_ms, end_line, report_line, start_line

log = logging.getLogger(__name__)
SHUTDOWN_MESSAGE = "The invocation was ended before its time: Hanabi is shutting down. Please try again."
DISK_FULL_MESSAGE = (
    "The disk of the server is full: there is no room for the record of another invocation, so it was not run. Try again later."
)
REPLACEMENTS_MAX = 3  # environments that end before they have an invocation; whose runtime always does so fails it


class Undelivered(Exception):
    """The environment ended before its runtime had the invocation."""


class LocalInvoker:
    """Runs invocations in this node's fleet. Implements `contracts.Invoker`. `check_role` raises for a role that is no more."""

    def __init__(
        self, fleet: Fleet, admission: Admission, journal: Journal, clock: Clock, check_role: Callable[[str], None] = lambda arn: None
    ) -> None:
        self._fleet = fleet
        self._admission = admission
        self._journal = journal
        self._clock = clock
        self._check_role = check_role
        self._tasks = Tasks("invoker")

    @property
    def in_flight(self) -> int:
        """Invocations that were admitted and have not ended, those that wait for an environment included."""
        return self._admission.total()

    def start(self, invocation: Invocation, on_end: OnResult) -> Cancellable:
        """Begin; the result, or the error, goes to `on_end`."""

        def ended(task: "asyncio.Task[Result]") -> None:
            if not task.cancelled():
                error = task.exception()
                on_end(task.result() if error is None else error if isinstance(error, Exception) else HanabiError(repr(error)))

        task = self._tasks.own(self.invoke(invocation), "invocation")
        task.add_done_callback(ended)
        return task

    async def close(self) -> None:
        """Cancel what is still under way."""
        await self._tasks.cancel()

    async def invoke(self, invocation: Invocation) -> Result:
        """Admit, find an environment, run, record."""
        self._check_role(invocation.route.version.role)
        if self._journal.full:
            raise ServiceError(DISK_FULL_MESSAGE)
        concurrency = invocation.route.concurrency
        entered = self._admission.enter(concurrency, invocation.route.version.key)
        try:
            for _ in range(REPLACEMENTS_MAX):
                environment = self._fleet.take_idle(invocation.route.version.key)
                try:
                    if environment is None:
                        return await self._invoke_cold(invocation)
                    return await self._run(environment, invocation)
                except Undelivered:
                    continue
            return await self._invoke_cold(invocation, last=True)
        finally:
            self._admission.leave(concurrency, entered)

    async def _run(self, environment: Environment, invocation: Invocation, spent_s: float = 0.0, *, last: bool = False) -> Result:
        """Raises `Undelivered` unless it is the last environment that is tried."""
        if environment.needs_init:
            return await self._run_after_reset(environment, invocation, last=last)
        reusable = False
        try:
            outcome = await environment.invoke(invocation, spent_s)
            if outcome.undelivered and not last:
                environment.log.retract(start_line(invocation.request_id, invocation.route.version.version))
                raise Undelivered
            reusable = outcome.reusable
            timeout_s = invocation.route.version.timeout_s
            # A timer that was late bought nobody any time.
            outcome.duration_ms = min(outcome.duration_ms + spent_s * 1000, timeout_s * 1000)
            if outcome.status == "timeout":
                outcome.duration_ms = timeout_s * 1000
                outcome.payload = error_payload("Sandbox.Timedout", timeout_message(timeout_s), invocation.request_id)
            result = await self._record(environment, invocation, outcome, environment.take_init_ms())
            if outcome.aborted:
                raise ShuttingDown(SHUTDOWN_MESSAGE)
            if not reusable:
                reusable = await environment.reset()
            return result
        finally:
            self._fleet.release(environment, reusable=reusable)

    async def _run_after_reset(self, environment: Environment, invocation: Invocation, *, last: bool) -> Result:
        """The init runs as part of the invocation, as after a failed one; the environment has its /tmp still."""
        outcome: Outcome | None = None
        try:
            outcome = await environment.initialize_again(invocation.route.version.timeout_s)
        except (HanabiError, OSError) as error:
            log.warning("environment %s does not come up after its reset: %s", environment.id, error)
        finally:
            if outcome is None:
                self._fleet.release(environment, reusable=False)
        if outcome is None:
            return await self._invoke_cold(invocation, last=last)  # the function has seen nothing of it
        if outcome.status == "success":
            return await self._run(environment, invocation, outcome.duration_ms / 1000, last=last)
        try:
            environment.log_init(outcome, "invoke")
            return await self._record_failed_init(environment, invocation, outcome)
        finally:
            self._fleet.release(environment, reusable=False)

    async def _invoke_cold(self, invocation: Invocation, *, last: bool = False) -> Result:
        try:
            environment = await self._fleet.lease(invocation.route.version)
        except InitFailed:
            return await self._invoke_after_failed_init(invocation)
        except (HanabiError, OSError) as error:
            raise _as_api_error(error) from error
        return await self._run(environment, invocation, last=last)

    async def _invoke_after_failed_init(self, invocation: Invocation) -> Result:
        """The init runs once more, now as part of the invocation and under the function's own timeout.

        AWS Lambda developer guide, "Failures during the Init phase": the time of this suppressed init shows in Duration alone.
        """
        version = invocation.route.version
        try:
            environment = await self._fleet.start(version, version.timeout_s, phase="invoke")
        except InitFailed as failed:
            return await self._record_failed_init(failed.environment, invocation, failed.outcome)
        except (HanabiError, OSError) as error:
            raise _as_api_error(error) from error
        return await self._run(environment, invocation, (environment.take_init_ms() or 0.0) / 1000, last=True)

    async def _record_failed_init(self, environment: Environment, invocation: Invocation, outcome: Outcome) -> Result:
        if outcome.message:
            kind = "Sandbox.Timedout" if outcome.status == "timeout" else json.loads(outcome.payload)["errorType"]
            outcome.payload = error_payload(kind, outcome.message, invocation.request_id)
        result = await self._record(environment, invocation, outcome, None, unstarted=True)
        if outcome.aborted:
            raise ShuttingDown(SHUTDOWN_MESSAGE)
        return result

    async def _record(
        self, environment: Environment, invocation: Invocation, outcome: Outcome, init_ms: float | None, unstarted: bool = False
    ) -> Result:
        await environment.log.read_printed()
        version = invocation.route.version
        duration_ms = outcome.duration_ms
        restore = environment.take_restore()
        now_ms = int(self._clock.time() * 1000)
        record = Record(
            request_id=invocation.request_id,
            function=version.name,
            version=version.version,
            memory_mb=version.memory_mb,
            started_ms=now_ms - int(duration_ms),
            duration_ms=duration_ms,
            billed_ms=billed_ms(duration_ms, init_ms if restore is None else restore[1]),
            init_ms=init_ms,
            max_memory_mb=environment.max_memory_mb(),
            status=outcome.status,
            error_type=outcome.error_type,
            environment=environment.id,
            source=invocation.source,
            trace=invocation.trace,
            restore=restore,
            attempt=invocation.attempt,
        )
        events = environment.log.take_events()
        if unstarted:
            events.append((record.started_ms, start_line(invocation.request_id, version.version)))
        events.append((now_ms, end_line(invocation.request_id)))
        events.append((now_ms, report_line(record)))
        self._journal.finish(record, version.log_group, environment.log.stream, events)
        return Result(
            payload=outcome.payload,
            function_error=None if outcome.status == "success" else "Unhandled",
            version=version.version,
            log_tail=environment.log.tail(events) if invocation.tail else b"",
            record=record,
        )


def _as_api_error(error: Exception) -> ApiError:
    """Trouble of ours, told to the caller without losing what it was."""
    if isinstance(error, ApiError):
        return error
    return ServiceError(f"The execution environment could not be started: {error}")
