"""One execution environment: a sandbox, the runtime in it, and the function it belongs to once it has one.

It never changes its function. One invocation at a time is inside; between two it may be frozen.
"""

import asyncio
import hmac
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

from hanabi.contracts.credentials import Credentials
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Invocation
from hanabi.contracts.sandbox import Exit, Sandbox
from hanabi.environment.deadline import Deadline
from hanabi.environment.entrypoint import exec_wrapper, refusal, start_runtime
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.environment.log import EnvironmentLog, stream_name
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import NO_REASON, STOPPED, Outcome, error_outcome, exit_outcome, timeout_message
from hanabi.environment.runtime_link import RuntimeLink
from hanabi.environment.shared import Closable, SharedServices
from hanabi.environment.states import EnvironmentState, advance
from hanabi.environment.variables import credentials_document, function_variables, generic_variables
from hanabi.errors import EntrypointError, SandboxError
from hanabi.ledger.report import init_report_line, start_line, start_phase_line
from hanabi.quotas import VCPU_MB
from hanabi.runtime.session import RuntimeSession
from hanabi.runtime.states import RuntimeState

RESET_LIMIT_S = 5.0
EXIT_GRACE_S = 0.01  # after the runtime has gone: what it sent before is still on its way
SNAPSHOT_CREDENTIALS_S = 300.0  # credentials that are fetched before a snapshot last no longer: they are to be fetched again after it
ENDED = (EnvironmentState.STOPPING, EnvironmentState.GONE)
log = logging.getLogger(__name__)


class Environment:
    """Made around a sandbox whose agent runs; then `load` (optional), `initialize`, `invoke` ..., `destroy`."""

    def __init__(self, sandbox: Sandbox, image: RuntimeImage, shared: SharedServices) -> None:
        self.id = sandbox.id
        self.sandbox = sandbox
        self.image = image
        self.version: FunctionVersion | None = None
        self.state = EnvironmentState.STARTING
        self.created = shared.clock.monotonic()
        self.idle_since = self.created
        self.invocations = 0
        self.to_destroy = False  # destroyed as soon as it is no longer busy
        self.origin = "pool miss"  # for the log: see `starts`
        self.provisioned = False  # initialised ahead for a version with provisioned concurrency, and kept
        self.snap_start = False  # to be a snapshot, or the clone of one
        self.trimmed = False  # since it was last used
        self.on_gone: Callable[[Environment, bool], None] = lambda _, __: None  # (this, whether a reset may help)
        self._shared = shared
        self._loaded = False
        self._init_ms: float | None = None
        self._credentials: Credentials | None = None
        self._token = secrets.token_urlsafe(32)  # for its credentials
        self._is_clone = False
        self._restored: tuple[float, float] | None = None  # (ms of the restore, ms of its hooks)
        self._servers: list[Closable] = []
        self._link: RuntimeLink | None = None
        self.log = EnvironmentLog(sandbox.logs, shared)
        self._ended: asyncio.Future[Outcome] | None = None  # the end of the init or invocation under way
        self._request_id: str | None = None
        self._began = 0.0
        self._timeout_s = 0.0
        self._deadline = Deadline(shared.clock, self._time_out)
        self._freeze = Deadline(shared.clock, self._freeze_now)
        self._on_finished: Callable[[], None] | None = None
        self._exit: Exit | None = None  # of the runtime or the sandbox
        self._exit_at = math.inf  # monotonic: when the runtime was seen to be over, before what it sent last was waited for
        self._sandbox_gone = False
        self._violation = ""
        self._memory = MemoryUse(sandbox)
        self.needs_init = False  # it was reset: its next invocation runs the init anew
        self._variables: dict[str, str] = {}
        self._resets = 0  # how often it was reset: what was to happen in an earlier one does not
        self._never_invoked = True  # nothing was invoked since its init
        sandbox.on_exit = self._on_exit

    async def load(self) -> None:
        """Start the bundled bootstrap before any function is known, unless the sandbox came with it. Raises `SandboxError`."""
        if self._loaded:
            return
        await self._open_runtime()
        sandbox = self.sandbox
        if sandbox.preloaded:
            self._loaded = True
            return
        variables = generic_variables(self.image, runtime_api=sandbox.runtime_api_address, task_root=sandbox.task_root)
        await sandbox.start("runtime", self.image.command, variables, "/")
        self._loaded = True

    async def initialize(self, version: FunctionVersion, limit_s: float) -> Outcome:
        """Take a function's code and run its init, at a full vCPU at least. On success the environment is idle, its CPU share set."""
        variables = self._variables = await self._assign(version)
        if version.code is not None:
            await self.sandbox.mount(version.code, "/var/task")
        if version.opt is not None:
            await self.sandbox.mount(version.opt, "/opt")
        outcome = await self._initialize(version, variables, limit_s)
        if outcome.status == "success":
            self._init_ms = outcome.duration_ms
        return outcome

    async def _initialize(self, version: FunctionVersion, variables: dict[str, str], limit_s: float) -> Outcome:
        self._memory.begin()
        if self.image.version_arn:
            self.log.write_now(start_phase_line("INIT_START", self.image.runtime, self.image.version_arn))
        return await self._run_init(self._start_function(version, variables), limit_s)

    async def reset(self) -> bool:
        """After a timeout or a crash: end all processes, keep the sandbox and /tmp; `initialize_again` is next. False: it is of no use."""
        lost = self._sandbox_gone or self._violation or (self.to_destroy and self._exit is None)
        replaced = self.snap_start or self.provisioned  # an init that is to be had ahead is not had within an invocation
        if self.state not in (EnvironmentState.BUSY, EnvironmentState.IDLE) or lost or replaced or self._link is None:
            return False
        self.state = advance(self.state, EnvironmentState.RESETTING)
        self._resets += 1
        try:
            async with asyncio.timeout(RESET_LIMIT_S):
                self._link.hang_up()
                await self._link.close()
                await self.sandbox.reset()
        except (OSError, SandboxError, TimeoutError) as error:
            log.warning("environment %s cannot be reset, and is replaced: %s", self.id, error or "no answer")
            return False
        if self.state is not EnvironmentState.RESETTING or self._sandbox_gone:
            return False
        self._exit, self._exit_at, self._loaded, self.to_destroy = None, math.inf, False, False
        self.needs_init = True
        return True

    async def initialize_again(self, limit_s: float) -> Outcome:
        """The init of one that was reset, which is part of an invocation."""
        version = self.version
        assert version is not None
        if self.state is EnvironmentState.FROZEN:
            self._thaw()
        self.needs_init, self._never_invoked = False, True
        self.state = advance(self.state, EnvironmentState.INITIALIZING)
        self.sandbox.limit(memory_mb=version.memory_mb, vcpus=max(1.0, version.memory_mb / VCPU_MB))
        return await self._initialize(version, self._variables, limit_s)

    async def restore(self, version: FunctionVersion, limit_s: float, spent_ms: float) -> Outcome:
        """Be a function whose snapshot the sandbox is a clone of: run its hooks. `spent_ms`: what restoring the sandbox took."""
        self._is_clone = self.snap_start = True
        variables = await self._assign(version)
        self._memory.begin()
        self.log.write_now(start_phase_line("RESTORE_START", self.image.runtime, self.image.version_arn))
        outcome = await self._run_init(self._restore_runtime(variables), limit_s)
        if outcome.status == "success":
            self._restored = (spent_ms + outcome.duration_ms, outcome.duration_ms)
        return outcome

    async def snapshot(self, directory: Path) -> None:
        """Write the sandbox of a function that is dormant, or ready, into a directory. The environment is of no other use afterwards."""
        await self.sandbox.snapshot(directory)

    async def hibernate(self, directory: Path) -> HibernatedEnvironment:
        """Write it to disk while nobody uses it; then it is to be destroyed, and `resume` makes another one of what is returned."""
        version, credentials = self.version, self._credentials
        assert version is not None and credentials is not None
        await self.sandbox.snapshot(directory)
        self._credentials = None  # they are not revoked with this environment: the one that is revived has them
        return HibernatedEnvironment(
            id=self.id,
            version=version,
            directory=directory,
            stream=self.log.stream,
            credentials=credentials,
            token=self._token,
            snap_start=self.snap_start,
            invocations=self.invocations,
            created=self.created,
            since=self.idle_since,
        )

    async def resume(self, hibernated: HibernatedEnvironment, limit_s: float) -> None:
        """Be the environment that was hibernated; the sandbox is a clone of it. Raises `SandboxError` when its runtime does not go on."""
        version, sandbox, shared = hibernated.version, self.sandbox, self._shared
        self.version, self.state = version, advance(self.state, EnvironmentState.INITIALIZING)
        self.log.open(version.log_group, hibernated.stream)
        self._credentials, self._token, self.created = hibernated.credentials, hibernated.token, hibernated.created
        self.snap_start = self._is_clone = hibernated.snap_start
        self.invocations = hibernated.invocations
        await self._own(shared.attach_edge(sandbox.edge, hibernated.credentials.access_key))
        sandbox.limit(memory_mb=version.memory_mb, vcpus=version.memory_mb / VCPU_MB)
        ended = self._begin(None, limit_s)
        link = await self._open_runtime(RuntimeState.RESTORING)
        if link.channel is not None and not exec_wrapper(version):  # it waits on its channel, and does not say so again
            link.session.next()
        if (await ended).status != "success" or self.to_destroy:
            raise SandboxError(f"environment {hibernated.id} does not go on where it was")
        self.state = advance(self.state, EnvironmentState.IDLE)

    async def _assign(self, version: FunctionVersion) -> dict[str, str]:
        """Belong to a function from now on; returns its variables."""
        shared, sandbox = self._shared, self.sandbox
        self.version = version
        self.state = advance(self.state, EnvironmentState.INITIALIZING)
        self.log.open(version.log_group, stream_name(version.version, shared.clock.time()))
        self._credentials = shared.credentials.issue(version.role, version.name, version.arn)
        await self._own(shared.attach_edge(sandbox.edge, self._credentials.access_key))
        sandbox.limit(memory_mb=version.memory_mb, vcpus=max(1.0, version.memory_mb / VCPU_MB))
        return function_variables(
            self.image,
            version,
            self._credentials,
            runtime_api=sandbox.runtime_api_address,
            edge=sandbox.edge_address,
            served_services=shared.served_services,
            task_root=sandbox.task_root,
            log_stream=self.log.stream,
            provisioned=self.provisioned,
            token=self._token if self.snap_start else None,
        )

    async def _run_init(self, start: Coroutine[Any, Any, None], limit_s: float) -> Outcome:
        """Start, and wait until the function is ready or has failed."""
        version, shared = self.version, self._shared
        assert version is not None
        self.log.keep_tail(True)  # of what follows: INIT_START is not among what a caller is shown
        ended = self._begin(None, limit_s)
        try:
            if self.to_destroy:  # while it was made ready for the function
                start.close()
                self._end(self._exit_outcome(None))
            else:
                await start
        except EntrypointError as error:
            self._end(refusal(error, self.image, version))
        outcome = await ended
        if outcome.status == "success" and self.to_destroy:  # it got ready, and died at once
            outcome = replace(self._exit_outcome(None), duration_ms=outcome.duration_ms)
        if outcome.status == "success":
            self.sandbox.limit(memory_mb=version.memory_mb, vcpus=version.memory_mb / VCPU_MB)
            self.state = advance(self.state, EnvironmentState.IDLE)
            self.idle_since = shared.clock.monotonic()
            self._memory.read()  # what its libraries take is not to be told any more once it has died
        return outcome

    async def _start_function(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        link = self._link
        if link is None or not self._loaded:
            link = await self._open_runtime()
            await start_runtime(self.sandbox, self.image, version, variables)
        if link.channel:
            link.channel.initialize(variables, version.handler, self.sandbox.task_root, generic=self._loaded)

    async def _restore_runtime(self, variables: dict[str, str]) -> None:
        link = await self._open_runtime(RuntimeState.AWAITING_RESTORE)
        if (channel := link.channel) is not None:
            link.session.send_restore = lambda: channel.send_restored(variables)
        link.session.restore()

    async def _open_runtime(self, begin: RuntimeState = RuntimeState.STARTING) -> RuntimeLink:
        """Open both ends on which a runtime may speak; a bundled bootstrap has the channel to itself."""
        session = RuntimeSession(
            on_ready=self._on_ready,
            on_init_error=lambda payload, kind: self._end(Outcome(payload, "error", kind)),
            on_result=lambda payload: self._end(Outcome(payload, "success", reusable=True)),
            on_error=lambda payload, kind: self._end(Outcome(payload, "error", kind, reusable=True)),
            on_violation=self._on_violation,
            on_awaiting_restore=self._on_ready,
            begin=begin,
        )
        link = self._link = RuntimeLink(self.sandbox, session)
        channel = bool(self.image.command)
        await link.open(self._shared.clock, self._find_credentials, channel=channel, bundled=channel and not exec_wrapper(self.version))
        if link.channel:
            link.channel.on_hangup = self._on_hangup
        return link

    def _find_credentials(self, token: str) -> dict[str, str] | None:
        """Of a function with SnapStart: current ones, for whoever has the token."""
        if self._credentials is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        expires = self._credentials.expires if self._is_clone else self._shared.clock.time() + SNAPSHOT_CREDENTIALS_S
        return credentials_document(self._credentials, expires)

    async def _own(self, opening: Awaitable[Closable]) -> None:
        """What was opened is closed with the environment, which may have been destroyed meanwhile."""
        server = await opening
        if self.state in ENDED:
            await server.close()
            raise SandboxError(f"environment {self.id} has gone")
        self._servers.append(server)

    def log_init(self, outcome: Outcome, phase: str = "init") -> None:
        """INIT_REPORT: of an init that failed, or that no invocation reports as it was provisioned ("Failures during the Init phase")."""
        self._init_ms = None
        word = "RESTORE" if self._is_clone else "INIT"
        line = init_report_line(outcome.duration_ms, outcome.status, outcome.error_type, phase=phase, word=word)
        self.log.write(line)

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation, spent_s: float = 0.0) -> "asyncio.Future[Outcome]":
        """Hand an invocation to the runtime; the future is its end, and it never fails. `spent_s` of its time has gone already.

        One that dies before its runtime has the invocation ends it as undelivered.
        """
        if not self.to_destroy:
            if self.state is EnvironmentState.FROZEN:
                self._thaw()
            self.state = advance(self.state, EnvironmentState.BUSY)
        version = invocation.route.version
        left_s = max(0.001, version.timeout_s - spent_s)
        now_ms = int(self._shared.clock.time() * 1000)
        invocation.deadline_ms = now_ms + int(left_s * 1000)
        if not self._never_invoked or not invocation.tail:  # what the init printed is shown with the first invocation
            self.log.keep_tail(invocation.tail)
        self.log.add([(now_ms, start_line(invocation.request_id, version.version))])
        ended = self._begin(invocation.request_id, left_s)
        self.invocations += 1
        self._never_invoked = False
        if self.to_destroy:
            self._end(replace(self._exit_outcome(invocation.request_id), undelivered=True))
        else:
            assert self._link is not None
            self._link.session.invoke(invocation)
        return ended

    @property
    def ready(self) -> bool:
        """Whether its runtime has asked for the next invocation: until then it may be about to end. One that was reset needs none."""
        return self.needs_init or (self._link is not None and self._link.session.state is RuntimeState.READY)

    def finish(self, on_finished: Callable[[], None]) -> None:
        """The invocation is answered: call back when the runtime asks for the next. It has what is left of the time for that."""
        self._on_finished = on_finished
        self._deadline.set(self._began, self._timeout_s)

    def mark_idle(self) -> None:
        """The invocation is over and recorded: wait for the next one."""
        self.state = advance(self.state, EnvironmentState.IDLE)
        self.idle_since = self._shared.clock.monotonic()
        self.trimmed = False

    def take_init_ms(self) -> float | None:
        """Duration of the init, for the first invocation only: it alone reports and pays for it."""
        init_ms, self._init_ms = self._init_ms, None
        return init_ms

    def take_restore(self) -> tuple[float, float] | None:
        """(ms of the restore, ms of its hooks), likewise, of a function with SnapStart."""
        restored, self._restored = self._restored, None
        return restored

    def max_memory_mb(self) -> int:
        """Readable to the end, and after it."""
        assert self.version is not None
        if self.state not in ENDED:
            self._memory.read()
        return self._memory.reported_mb(self.version.memory_mb)

    def _begin(self, request_id: str | None, limit_s: float) -> "asyncio.Future[Outcome]":
        self._request_id = request_id
        self._began = self._shared.clock.monotonic()
        self._timeout_s = limit_s
        self._deadline.set(self._began, limit_s)
        self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    def _end(self, outcome: Outcome) -> None:
        ended, self._ended = self._ended, None
        if ended is None or ended.done():
            return
        over = min(self._exit_at, self._shared.clock.monotonic())
        outcome.duration_ms = self._timeout_s * 1000 if outcome.status == "timeout" else max(0.0, over - self._began) * 1000
        self._deadline.clear()
        ended.set_result(outcome)

    def abort(self) -> None:
        """The server stops: end what somebody waits for. The init of one that is kept, or becomes a snapshot, is its owner's business."""
        ahead = self.provisioned or self.snap_start
        if self.state is EnvironmentState.BUSY or (self.state is EnvironmentState.INITIALIZING and not ahead):
            self._end(replace(error_outcome("Sandbox.Failure", STOPPED, self._request_id), aborted=True))

    def _time_out(self) -> None:
        if self._on_finished is not None:
            self._on_finished = None
            self.on_gone(self, False)
        self._end(error_outcome("Sandbox.Timedout", timeout_message(self._timeout_s), self._request_id, status="timeout"))

    # --- what the runtime and the agent say ---------------------------------------------------------------------------

    def _on_ready(self) -> None:
        if self.state is EnvironmentState.INITIALIZING:
            self._end(Outcome(b"", "success"))
        elif self._on_finished is not None:
            finished, self._on_finished = self._on_finished, None
            self._deadline.clear()
            finished()

    def _on_violation(self, reason: str) -> None:
        self.to_destroy = True
        self._violation = reason
        self._exit_at = min(self._exit_at, self._shared.clock.monotonic())
        # The most usual one is to hang up: the exit that comes with it says more.
        self._shared.clock.call_later(2 * EXIT_GRACE_S, self._on_runtime_gone, self._resets)

    def _on_hangup(self) -> None:
        """Nobody is there who could be given anything. What becomes of work under way, its exit or the deadline says."""
        if self._ended is None:
            self.to_destroy = True

    def _on_exit(self, ended: Exit) -> None:
        if self.state is EnvironmentState.RESETTING and ended.role != "sandbox":
            return  # it was killed
        self.to_destroy = True
        if self.state in ENDED:
            return
        self._exit_at = min(self._exit_at, self._shared.clock.monotonic())
        if ended.role == "sandbox":
            self._exit, self._sandbox_gone = self._exit or ended, True
            self._on_runtime_gone(self._resets)
        elif ended.role == "runtime":
            self._exit = ended
            self._shared.clock.call_later(EXIT_GRACE_S, self._on_runtime_gone, self._resets)

    def _on_runtime_gone(self, resets: int) -> None:
        if self.state in ENDED or resets != self._resets:
            return
        held = self._link.session.held_answer() if self._link else None
        if held is not None:
            payload, error_type = held
            self._end(Outcome(payload, "error" if error_type else "success", error_type))
        else:
            lost = self._link is not None and self._link.session.lost(self._exit)
            self._end(replace(self._exit_outcome(self._request_id), undelivered=lost))
        if self.state in (EnvironmentState.STARTING, EnvironmentState.IDLE, EnvironmentState.FROZEN) or self._on_finished is not None:
            self._on_finished = None
            self.on_gone(self, not self._sandbox_gone)

    def _exit_outcome(self, request_id: str | None) -> Outcome:
        out_of_memory = self._exit is not None and self._exit.signal == SIGKILL and self.state not in ENDED and self._memory.was_exceeded()
        return exit_outcome(self._exit, self._violation, request_id, out_of_memory=out_of_memory)

    def arm_freeze(self) -> None:
        """Freeze when the environment stays idle for a while."""
        if self._shared.freeze_after_s > 0:
            self._freeze.set(self.idle_since, self._shared.freeze_after_s)
        else:
            self._freeze_now()

    def _freeze_now(self) -> None:
        if self.state is not EnvironmentState.IDLE or self.to_destroy:
            return
        try:
            self.sandbox.freeze()
        except OSError:
            self._on_freezer_failure()
        else:
            self.state = advance(self.state, EnvironmentState.FROZEN)

    def _thaw(self) -> None:
        try:
            self.sandbox.thaw()
        except OSError:
            self._on_freezer_failure()

    def _on_freezer_failure(self) -> None:
        log.exception("environment %s cannot be frozen or thawed any more", self.id)
        self.to_destroy = True
        self._shared.clock.call_later(0, self._on_runtime_gone, self._resets)  # not now: whoever called is not done yet

    async def destroy(self) -> None:
        """End everything. Idempotent."""
        if self.state in ENDED:
            return
        self._memory.read()
        self.state = advance(self.state, EnvironmentState.STOPPING)
        self.to_destroy = True
        self._end(error_outcome("Runtime.ExitError", NO_REASON, self._request_id))
        self._deadline.close()
        self._freeze.close()
        if self._credentials:
            self._shared.credentials.revoke(self._credentials.access_key)
        async with AsyncExitStack() as last_first:  # a step that fails stops no other
            last_first.callback(lambda: setattr(self, "state", advance(self.state, EnvironmentState.GONE)))
            last_first.push_async_callback(self.sandbox.destroy)
            for server in self._servers:
                last_first.push_async_callback(server.close)
            if self._link:
                last_first.push_async_callback(self._link.close)
                last_first.callback(self._link.hang_up)
            last_first.callback(self.log.close)
