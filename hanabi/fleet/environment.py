"""One execution environment: a sandbox, the runtime in it, and the function it belongs to once it has one.

It never changes its function. One invocation at a time is inside; between two it may be frozen.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable

from hanabi.contracts import Exit, FunctionVersion, Invocation, LogEvent, RuntimeImage, Sandbox, Timer
from hanabi.errors import EntrypointError
from hanabi.fleet.host import Closable, Host
from hanabi.fleet.lifecycle import State, advance
from hanabi.fleet.outcome import Outcome, exit_message, fault, timeout_message
from hanabi.fleet.output import Output
from hanabi.fleet.variables import function_variables, generic_variables
from hanabi.ledger.report import init_report_line, init_start_line, start_line
from hanabi.runtime.api import RuntimeApi
from hanabi.runtime.channel import RuntimeChannel
from hanabi.runtime.session import RuntimeSession

MIB = 1024 * 1024
VCPU_MB = 1769  # memory that buys one vCPU
TAIL_SIZE = 4096  # bytes of log in an answer with LogType=Tail
LOG_BUFFER = 64  # events held back for the write that ends the invocation
SETTLE_S = 0.01  # after the runtime has gone: what it sent before is still on its way
FLUSH_S = 0.2  # printed lines are readable after this long, though the invocation goes on


class Environment:
    """Made around a sandbox whose agent runs; then `load` (optional), `initialize`, `invoke` ..., `destroy`."""

    def __init__(self, sandbox: Sandbox, image: RuntimeImage, host: Host) -> None:
        self.id = sandbox.id
        self.sandbox = sandbox
        self.image = image
        self.version: FunctionVersion | None = None
        self.state = State.STARTING
        self.created = host.clock.monotonic()
        self.idle_since = self.created
        self.invocations = 0
        self.log_stream = ""
        self.doomed = False  # destroyed as soon as it is no longer busy
        self.on_gone: Callable[[Environment], None] = lambda _: None
        self._host = host
        self._loaded = False
        self._init_ms: float | None = None
        self._access_key = ""
        self._servers: list[Closable] = []
        self._session: RuntimeSession | None = None
        self._channel: RuntimeChannel | None = None
        self._output = Output(sandbox.logs, host.clock, self._on_output)
        self._events: list[LogEvent] = []
        self._flushing = False
        self._ended: asyncio.Future[Outcome] | None = None  # the end of the init or invocation under way
        self._request_id: str | None = None
        self._began = 0.0
        self._deadline = math.inf  # monotonic
        self._timeout_s = 0.0
        self._deadline_timer: Timer | None = None
        self._deadline_due = math.inf  # when the timer looks next
        self._freeze_armed = False
        self._tail: list[LogEvent] | None = None  # events already written of an invocation that wants its log back
        sandbox.on_exit = self._on_exit

    # --- coming up ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start the bundled bootstrap before any function is known. Raises `SandboxError`."""
        await self._open_runtime()
        sandbox = self.sandbox
        variables = generic_variables(self.image, runtime_api=sandbox.runtime_api_address, task_root=sandbox.task_root)
        await sandbox.start("runtime", self.image.command, variables, "/")
        self._loaded = True

    async def initialize(self, version: FunctionVersion, limit_s: float) -> Outcome:
        """Take a function's code and run its init, unthrottled. On success the environment is idle, its CPU share set."""
        host = self._host
        self.version = version
        self.state = advance(self.state, State.INITIALIZING)
        self.log_stream = f"{_day(host.clock.time())}/[{version.version}]{uuid.uuid4().hex}"
        credentials = host.credentials.issue(version.role, version.name)
        self._access_key = credentials.access_key
        self._servers.append(await host.attach_edge(self.sandbox.edge, credentials.access_key))
        self.sandbox.limit(memory_mb=version.memory_mb, vcpus=None)
        await self.sandbox.mount(version.code, "/var/task")
        for layer in version.layers:
            await self.sandbox.mount(layer, "/opt")
        self.sandbox.reset_peak()
        variables = function_variables(
            self.image,
            version,
            credentials,
            runtime_api=self.sandbox.runtime_api_address,
            edge=self.sandbox.edge_address,
            task_root=self.sandbox.task_root,
            log_stream=self.log_stream,
        )
        self._on_output([(int(host.clock.time() * 1000), init_start_line(self.image.runtime, self.image.version_arn))])
        ended = self._begin(None, limit_s)
        try:
            await self._start_function(version, variables)
        except EntrypointError as error:
            message = f"Couldn't find valid bootstrap(s): {list(self._entrypoint())}" if error.errno == 2 else str(error)
            self._end(fault("Runtime.InvalidEntrypoint", message, None))
        outcome = await ended
        if outcome.status == "success":
            self._init_ms = outcome.duration_ms
            self.sandbox.limit(memory_mb=version.memory_mb, vcpus=version.memory_mb / VCPU_MB)
            self.state = advance(self.state, State.IDLE)
            self.idle_since = host.clock.monotonic()
        return outcome

    async def _start_function(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        if not self._loaded:
            await self._open_runtime()
            await self.sandbox.start("runtime", self._entrypoint(), variables, self.sandbox.task_root)
        if self._channel:
            self._channel.initialize(variables, version.handler, self.sandbox.task_root, generic=self._loaded)

    def _entrypoint(self) -> tuple[str, ...]:
        wrapper = self._wrapper()
        command = self.image.command or (f"{self.sandbox.task_root}/bootstrap",)
        return (wrapper, *command) if wrapper else command

    def _wrapper(self) -> str | None:
        """A script of the function's that starts the runtime, and may start another one than the bundled."""
        return self.version.environment.get("AWS_LAMBDA_EXEC_WRAPPER") if self.version else None

    async def _open_runtime(self) -> None:
        """Open both ends on which a runtime may speak; a bundled bootstrap has the channel to itself."""
        self._session = RuntimeSession(
            on_ready=self._on_ready,
            on_init_error=self._on_init_error,
            on_result=self._on_result,
            on_error=self._on_error,
            on_violation=self._on_violation,
        )
        api = RuntimeApi(self._session, bundled=bool(self.image.command) and not self._wrapper())
        self._servers.append(await api.serve(self.sandbox.runtime_api, clock=self._host.clock))
        if self.image.command:
            self._channel = await RuntimeChannel.open(self.sandbox.runtime, self._session)

    def log_failed_init(self, outcome: Outcome, phase: str) -> None:
        """INIT_REPORT is written for a failed init only."""
        line = init_report_line(outcome.duration_ms, outcome.status, outcome.error_type, phase=phase)
        self._on_output([(int(self._host.clock.time() * 1000), line)])

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation, spent_s: float = 0.0) -> "asyncio.Future[Outcome]":
        """Hand an invocation to the runtime; the future is its end, and it never fails. `spent_s` of its time has gone already."""
        if self.state is State.FROZEN:
            self.sandbox.thaw()
        self.state = advance(self.state, State.BUSY)
        version = invocation.route.version
        left_s = max(0.001, version.timeout_s - spent_s)
        now_ms = int(self._host.clock.time() * 1000)
        invocation.deadline_ms = now_ms + int(left_s * 1000)
        self._tail = [] if invocation.tail else None
        self._events.append((now_ms, start_line(invocation.request_id, version.version)))
        ended = self._begin(invocation.request_id, left_s)
        self.invocations += 1
        assert self._session is not None
        self._session.invoke(invocation)
        return ended

    def rest(self) -> None:
        """The invocation is over and recorded: wait for the next one."""
        self.state = advance(self.state, State.IDLE)
        self.idle_since = self._host.clock.monotonic()
        self.arm_freeze()

    def take_init_ms(self) -> float | None:
        """Duration of the init, for the first invocation only: it alone reports and pays for it."""
        init_ms, self._init_ms = self._init_ms, None
        return init_ms

    def take_events(self) -> list[LogEvent]:
        """The log events not yet written; what was printed until now is among them."""
        self._output.drain()
        self._output.flush_partial()
        events, self._events = self._events, []
        return events

    def log_tail(self, last: list[LogEvent]) -> bytes:
        """The last 4 KB of the log of an invocation that asked for it, ending with `last`."""
        lines = "\n".join(text for _, text in (self._tail or []) + last)
        return (lines.encode() + b"\n")[-TAIL_SIZE:]

    def max_memory_mb(self) -> int:
        assert self.version is not None
        return min(self.version.memory_mb, max(1, -(-self.sandbox.peak_memory() // MIB)))

    def _begin(self, request_id: str | None, limit_s: float) -> "asyncio.Future[Outcome]":
        self._request_id = request_id
        self._began = self._host.clock.monotonic()
        self._timeout_s = limit_s
        self._deadline = self._began + limit_s
        if self._deadline < self._deadline_due:
            self._arm_deadline(limit_s)
        self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    def _end(self, outcome: Outcome) -> None:
        ended, self._ended = self._ended, None
        if ended is None or ended.done():
            return
        outcome.duration_ms = (self._host.clock.monotonic() - self._began) * 1000
        self._deadline = math.inf
        ended.set_result(outcome)

    def _arm_deadline(self, seconds: float) -> None:
        if self._deadline_timer:
            self._deadline_timer.cancel()
        self._deadline_due = self._host.clock.monotonic() + seconds
        self._deadline_timer = self._host.clock.call_later(seconds, self._check_deadline)

    def _check_deadline(self) -> None:
        """One timer serves many invocations: it looks when one was due, and comes back when the present one is."""
        self._deadline_due = math.inf
        if self._deadline == math.inf:
            return
        left = self._deadline - self._host.clock.monotonic()
        if left > 0:
            self._arm_deadline(left)
        else:
            self._end(fault("Sandbox.Timedout", timeout_message(self._timeout_s), self._request_id, status="timeout"))

    # --- what the runtime and the agent say ---------------------------------------------------------------------------

    def _on_ready(self) -> None:
        if self.state is State.INITIALIZING:
            self._end(Outcome(b"", "success"))

    def _on_init_error(self, payload: bytes, error_type: str) -> None:
        self._end(Outcome(payload, "error", error_type))

    def _on_result(self, payload: bytes) -> None:
        self._end(Outcome(payload, "success", reusable=True))

    def _on_error(self, payload: bytes, error_type: str) -> None:
        self._end(Outcome(payload, "error", error_type, reusable=True))

    def _on_violation(self, reason: str) -> None:
        self._end(fault("Runtime.ProtocolViolation", reason, self._request_id))
        self._doom()

    def _on_exit(self, ended: Exit) -> None:
        self.doomed = True
        if ended.role == "sandbox" or self.state in (State.STOPPING, State.GONE):
            self._exited(ended)
        elif ended.role == "runtime":
            self._host.clock.call_later(SETTLE_S, self._exited, ended)

    def _exited(self, ended: Exit) -> None:
        held = self._session.held_answer() if self._session else None
        if held is not None:
            payload, error_type = held
            self._end(Outcome(payload, "error" if error_type else "success", error_type))
        else:
            reported = "Runtime.OutOfMemory" if ended.signal == 9 and self.sandbox.oom_kills() else None
            self._end(fault("Runtime.ExitError", exit_message(ended), self._request_id, reported=reported))
        self._doom()

    def _doom(self) -> None:
        self.doomed = True
        if self.state in (State.STARTING, State.IDLE, State.FROZEN):
            self.on_gone(self)

    # --- between invocations ------------------------------------------------------------------------------------------

    def arm_freeze(self) -> None:
        """Freeze when the environment stays idle for a while: one lazy timer, so a hot one does not pay for it."""
        if not self._freeze_armed:
            self._freeze_armed = True
            self._check_freeze()

    def _check_freeze(self) -> None:
        self._freeze_armed = False
        if self.state is not State.IDLE or self.doomed:
            return
        left = self.idle_since + self._host.freeze_after_s - self._host.clock.monotonic()
        if left > 0:
            self._freeze_armed = True
            self._host.clock.call_later(left, self._check_freeze)
        else:
            self.state = advance(self.state, State.FROZEN)
            self.sandbox.freeze()

    def _on_output(self, events: list[LogEvent]) -> None:
        self._events += events
        if len(self._events) > LOG_BUFFER:
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._host.clock.call_later(FLUSH_S, self._flush_later)

    def _flush_later(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Write the log events held back."""
        if self._events and self.version is not None:
            events, self._events = self._events, []
            if self._tail is not None:
                self._tail = (self._tail + events)[-TAIL_SIZE:]
            self._host.journal.log(self.version.log_group, self.log_stream, events)

    async def destroy(self) -> None:
        """End everything. Idempotent."""
        if self.state in (State.STOPPING, State.GONE):
            return
        self.state = advance(self.state, State.STOPPING)
        self._end(fault("Runtime.ExitError", "Runtime exited without providing a reason", self._request_id))
        self._output.close()
        self.flush()
        if self._deadline_timer:
            self._deadline_timer.cancel()
        if self._access_key:
            self._host.credentials.revoke(self._access_key)
        if self._channel:
            self._channel.close()
        if self._session:
            self._session.close()
        try:
            for server in self._servers:
                await server.close()
        finally:
            await self.sandbox.destroy()
            self.state = advance(self.state, State.GONE)


def _day(unix_s: float) -> str:
    return time.strftime("%Y/%m/%d", time.gmtime(unix_s))
