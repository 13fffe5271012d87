"""One execution environment: a sandbox, the runtime in it, and the function it belongs to once it has one.

It never changes its function. One invocation at a time is inside; between two it may be frozen.
"""

import asyncio
import logging
import math
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from errno import ENOENT
from signal import SIGKILL

from hanabi.contracts import Exit, FunctionVersion, Invocation, LogEvent, RuntimeImage, Sandbox, Timer
from hanabi.errors import EntrypointError, SandboxError
from hanabi.fleet.host import Closable, Host
from hanabi.fleet.lifecycle import State, advance
from hanabi.fleet.outcome import NO_REASON, Outcome, exit_message, fault, timeout_message
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
TRIM_LIMIT_S = 10.0
SETTLE_S = 0.01  # after the runtime has gone: what it sent before is still on its way
FLUSH_S = 0.2  # printed lines are readable after this long, though the invocation goes on
BOOTSTRAPS = ("/var/task/bootstrap", "/opt/bootstrap")  # of an OS-only runtime, in this order
ENDED = (State.STOPPING, State.GONE)
log = logging.getLogger(__name__)


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
        self.provisioned = False  # initialised ahead for a version with provisioned concurrency, and kept
        self.trimmed = False  # since it was last used
        self.on_gone: Callable[[Environment], None] = lambda _: None
        self._host = host
        self._loaded = False
        self._init_ms: float | None = None
        self._access_key = ""
        self._servers: list[Closable] = []
        self._session: RuntimeSession | None = None
        self._channel: RuntimeChannel | None = None
        self._output = Output(sandbox.logs, host.clock, host.pace, self._on_output)
        self._events: list[LogEvent] = []
        self._ended: asyncio.Future[Outcome] | None = None  # the end of the init or invocation under way
        self._request_id: str | None = None
        self._began = 0.0
        self._deadline = math.inf  # monotonic
        self._timeout_s = 0.0
        self._deadline_timer: Timer | None = None
        self._deadline_due = math.inf  # when the timer looks next
        self._freeze_timer: Timer | None = None
        self._flush_timer: Timer | None = None
        self._tail: bytes | None = None  # of what has been written of an invocation that wants its log back
        self._exit: Exit | None = None  # of the runtime or the sandbox
        self._violation = ""
        self._peak = 0  # memory, as last read
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
        """Take a function's code and run its init, at a full vCPU at least. On success the environment is idle, its CPU share set."""
        host = self._host
        self.version = version
        self.state = advance(self.state, State.INITIALIZING)
        self.log_stream = f"{_day(host.clock.time())}/[{version.version}]{uuid.uuid4().hex}"
        credentials = host.credentials.issue(version.role, version.name)
        self._access_key = credentials.access_key
        await self._keep(host.attach_edge(self.sandbox.edge, credentials.access_key))
        self.sandbox.limit(memory_mb=version.memory_mb, vcpus=max(1.0, version.memory_mb / VCPU_MB))
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
            provisioned=self.provisioned,
        )
        line = init_start_line(self.image.runtime, self.image.version_arn)
        host.journal.log(version.log_group, self.log_stream, [(int(host.clock.time() * 1000), line)])
        self._tail = b""  # of what follows: INIT_START is not among what a caller is shown
        ended = self._begin(None, limit_s)
        try:
            if self.doomed:  # while it was made ready for the function
                self._end(self._demise(None))
            else:
                await self._start_function(version, variables)
        except EntrypointError as error:
            self._end(fault("Runtime.InvalidEntrypoint", self._entrypoint_message(error), None))
        outcome = await ended
        if outcome.status == "success" and self.doomed:  # it got ready, and died at once
            outcome = replace(self._demise(None), duration_ms=outcome.duration_ms)
        if outcome.status == "success":
            self._init_ms = outcome.duration_ms
            self.sandbox.limit(memory_mb=version.memory_mb, vcpus=version.memory_mb / VCPU_MB)
            self.state = advance(self.state, State.IDLE)
            self.idle_since = host.clock.monotonic()
        return outcome

    async def _start_function(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        if not self._loaded:
            await self._open_runtime()
            first, *others = self._entrypoints()
            try:
                await self.sandbox.start("runtime", first, variables, self.sandbox.task_root)
            except EntrypointError as error:
                if error.errno != ENOENT or not others or _has_bootstrap(version):
                    raise
                await self.sandbox.start("runtime", others[0], variables, self.sandbox.task_root)
        if self._channel:
            self._channel.initialize(variables, version.handler, self.sandbox.task_root, generic=self._loaded)

    def _entrypoints(self) -> list[tuple[str, ...]]:
        """What to start: the first of these that there is."""
        wrapper = self._wrapper()
        commands = [self.image.command] if self.image.command else [(path,) for path in self._bootstraps()]
        return [(wrapper, *command) if wrapper else command for command in commands]

    def _bootstraps(self) -> tuple[str, ...]:
        return (f"{self.sandbox.task_root}/bootstrap", BOOTSTRAPS[1])

    def _entrypoint_message(self, error: EntrypointError) -> str:
        """In the words of Lambda, which are those of Go's os/exec."""
        if self.image.command or self._wrapper() or self.version is None:
            return str(error)
        if error.errno == ENOENT and not _has_bootstrap(self.version):
            return f"Couldn't find valid bootstrap(s): [{' '.join(BOOTSTRAPS)}]"
        return f"fork/exec {BOOTSTRAPS[0]}: {os.strerror(error.errno).lower()}"

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
        await self._keep(api.serve(self.sandbox.runtime_api, clock=self._host.clock))
        if self.image.command:
            channel = await RuntimeChannel.open(self.sandbox.runtime, self._session)
            if self.state in ENDED:
                channel.close()
                raise SandboxError(f"environment {self.id} has gone")
            self._channel = channel

    async def _keep(self, opening: Awaitable[Closable]) -> None:
        """What was opened is closed with the environment, which may have been destroyed meanwhile."""
        server = await opening
        if self.state in ENDED:
            await server.close()
            raise SandboxError(f"environment {self.id} has gone")
        self._servers.append(server)

    def log_init(self, outcome: Outcome, phase: str = "init") -> None:
        """INIT_REPORT is written for an init that failed, or that no invocation reports because it was provisioned.

        AWS Lambda developer guide, "Failures during the Init phase".
        """
        self._init_ms = None
        line = init_report_line(outcome.duration_ms, outcome.status, outcome.error_type, phase=phase)
        self._on_output([(int(self._host.clock.time() * 1000), line)])

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation, spent_s: float = 0.0) -> "asyncio.Future[Outcome]":
        """Hand an invocation to the runtime; the future is its end, and it never fails. `spent_s` of its time has gone already.

        An environment that has died since it was handed out ends the invocation as if it had died of it.
        """
        if not self.doomed:
            if self.state is State.FROZEN:
                self._thaw()
            self.state = advance(self.state, State.BUSY)
        version = invocation.route.version
        left_s = max(0.001, version.timeout_s - spent_s)
        now_ms = int(self._host.clock.time() * 1000)
        invocation.deadline_ms = now_ms + int(left_s * 1000)
        if self.invocations or not invocation.tail:  # what the init printed is shown with the first invocation
            self._tail = b"" if invocation.tail else None
        self._on_output([(now_ms, start_line(invocation.request_id, version.version))])
        ended = self._begin(invocation.request_id, left_s)
        self.invocations += 1
        if self.doomed:
            self._end(self._demise(invocation.request_id))
        else:
            assert self._session is not None
            self._session.invoke(invocation)
        return ended

    def rest(self) -> None:
        """The invocation is over and recorded: wait for the next one."""
        self.state = advance(self.state, State.IDLE)
        self.idle_since = self._host.clock.monotonic()
        self.trimmed = False

    async def trim(self) -> None:
        """Give memory back while idle. What goes wrong with that is no harm."""
        try:
            async with asyncio.timeout(TRIM_LIMIT_S):
                await self.sandbox.trim()
        except (OSError, SandboxError, TimeoutError) as error:
            if self.state not in ENDED:
                log.warning("environment %s cannot give memory back: %s", self.id, error or "no answer")

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
        return _end_of_log(self._tail or b"", last)

    def max_memory_mb(self) -> int:
        """Readable to the end, and after it."""
        assert self.version is not None
        self._read_peak()
        return min(self.version.memory_mb, max(1, -(-self._peak // MIB)))

    def _read_peak(self) -> None:
        if self.state not in ENDED:
            with suppress(OSError):
                self._peak = self.sandbox.peak_memory()

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
        self.doomed = True
        self._violation = reason
        # The most usual one is to hang up: the exit that comes with it says more.
        self._host.clock.call_later(2 * SETTLE_S, self._die)

    def _on_exit(self, ended: Exit) -> None:
        self.doomed = True
        if self.state in ENDED:
            return
        if ended.role == "sandbox":
            self._exit = self._exit or ended
            self._die()
        elif ended.role == "runtime":
            self._exit = ended
            self._host.clock.call_later(SETTLE_S, self._die)

    def _die(self) -> None:
        if self.state in ENDED:
            return
        held = self._session.held_answer() if self._session else None
        if held is not None:
            payload, error_type = held
            self._end(Outcome(payload, "error" if error_type else "success", error_type))
        else:
            self._end(self._demise(self._request_id))
        if self.state in (State.STARTING, State.IDLE, State.FROZEN):
            self.on_gone(self)

    def _demise(self, request_id: str | None) -> Outcome:
        """What it died of."""
        if self._exit is not None:
            killed = self._exit.signal == SIGKILL and self.state not in ENDED and self._oom_kills() > 0
            return fault("Runtime.ExitError", exit_message(self._exit), request_id, reported="Runtime.OutOfMemory" if killed else None)
        if self._violation:
            return fault("Runtime.ProtocolViolation", self._violation, request_id)
        return fault("Runtime.ExitError", NO_REASON, request_id)

    def _oom_kills(self) -> int:
        try:
            return self.sandbox.oom_kills()
        except OSError:  # its cgroup has gone with it
            return 0

    # --- between invocations ------------------------------------------------------------------------------------------

    def arm_freeze(self) -> None:
        """Freeze when the environment stays idle for a while: one lazy timer, so a hot one does not pay for it."""
        if self._freeze_timer is None:
            self._check_freeze()

    def _check_freeze(self) -> None:
        self._freeze_timer = None
        if self.state is not State.IDLE or self.doomed:
            return
        left = self.idle_since + self._host.freeze_after_s - self._host.clock.monotonic()
        if left > 0:
            self._freeze_timer = self._host.clock.call_later(left, self._check_freeze)
            return
        try:
            self.sandbox.freeze()
        except OSError:
            self._give_up_sandbox()
        else:
            self.state = advance(self.state, State.FROZEN)

    def _thaw(self) -> None:
        try:
            self.sandbox.thaw()
        except OSError:
            self._give_up_sandbox()

    def _give_up_sandbox(self) -> None:
        log.exception("environment %s cannot be frozen or thawed any more", self.id)
        self.doomed = True
        self._host.clock.call_later(0, self._die)  # not now: whoever called is not done yet

    def _on_output(self, events: list[LogEvent]) -> None:
        self._events += events
        if len(self._events) > LOG_BUFFER:
            self.flush()
        elif self._flush_timer is None:
            self._flush_timer = self._host.clock.call_later(FLUSH_S, self._flush_later)

    def _flush_later(self) -> None:
        self._flush_timer = None
        self.flush()

    def flush(self) -> None:
        """Write the log events held back."""
        if self._events and self.version is not None:
            events, self._events = self._events, []
            if self._tail is not None:
                self._tail = _end_of_log(self._tail, events)
            self._host.journal.log(self.version.log_group, self.log_stream, events)

    async def destroy(self) -> None:
        """End everything. Idempotent."""
        if self.state in ENDED:
            return
        self._read_peak()
        self.state = advance(self.state, State.STOPPING)
        self.doomed = True
        self._end(fault("Runtime.ExitError", NO_REASON, self._request_id))
        self._output.close()
        self.flush()
        for timer in (self._deadline_timer, self._freeze_timer, self._flush_timer):
            if timer:
                timer.cancel()
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


def _has_bootstrap(version: FunctionVersion) -> bool:
    """A link counts, wherever it leads: it is followed in the sandbox only, never on the host."""
    return os.path.lexists(version.code / "bootstrap")


def _end_of_log(tail: bytes, events: list[LogEvent]) -> bytes:
    """The last bytes of a log and what follows it, though its lines may be long."""
    lines: list[bytes] = []
    size = 0
    for _, text in reversed(events):
        lines.append(text[-TAIL_SIZE:].encode() + b"\n")
        size += len(lines[-1])
        if size >= TAIL_SIZE:
            break
    else:
        lines.append(tail)
    return b"".join(reversed(lines))[-TAIL_SIZE:]


def _day(unix_s: float) -> str:
    return time.strftime("%Y/%m/%d", time.gmtime(unix_s))
