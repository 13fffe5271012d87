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
from hanabi.environment.entrypoint import refusal, start_runtime, wrapper_of
from hanabi.environment.hibernated import Rest
from hanabi.environment.log import Diary, new_stream
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import NO_REASON, STOPPED, Outcome, demise, fault, timeout_message
from hanabi.environment.runtime_link import Talk
from hanabi.environment.shared import Closable, Host
from hanabi.environment.states import State, advance
from hanabi.environment.variables import credentials_document, function_variables, generic_variables
from hanabi.errors import EntrypointError, SandboxError
from hanabi.ledger.report import init_report_line, start_line, start_phase_line
from hanabi.runtime.session import RuntimeSession
from hanabi.runtime.states import State as Runtime

VCPU_MB = 1769  # memory that buys one vCPU
RESET_LIMIT_S = 5.0
SETTLE_S = 0.01  # after the runtime has gone: what it sent before is still on its way
FLEETING_S = 300.0  # credentials that are fetched before a snapshot last no longer: they are to be fetched again after it
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
        self.doomed = False  # destroyed as soon as it is no longer busy
        self.origin = "pool miss"  # for the log: see `starts`
        self.provisioned = False  # initialised ahead for a version with provisioned concurrency, and kept
        self.snap_start = False  # to be a snapshot, or the clone of one
        self.trimmed = False  # since it was last used
        self.on_gone: Callable[[Environment, bool], None] = lambda _, __: None  # (this, whether a reset may help)
        self._host = host
        self._loaded = False
        self._init_ms: float | None = None
        self._credentials: Credentials | None = None
        self._token = secrets.token_urlsafe(32)  # for its credentials
        self._is_clone = False
        self._restored: tuple[float, float] | None = None  # (ms of the restore, ms of its hooks)
        self._servers: list[Closable] = []
        self._talk: Talk | None = None
        self.diary = Diary(sandbox.logs, host)
        self._ended: asyncio.Future[Outcome] | None = None  # the end of the init or invocation under way
        self._request_id: str | None = None
        self._began = 0.0
        self._timeout_s = 0.0
        self._deadline = Deadline(host.clock, self._time_out)
        self._freeze = Deadline(host.clock, self._freeze_now)
        self._on_settled: Callable[[], None] | None = None
        self._exit: Exit | None = None  # of the runtime or the sandbox
        self._exit_at = math.inf  # monotonic: when the runtime was seen to be over, before what it sent last was waited for
        self._sandbox_gone = False
        self._violation = ""
        self._memory = MemoryUse(sandbox)
        self.needs_init = False  # it was reset: its next invocation runs the init anew
        self._variables: dict[str, str] = {}
        self._life = 0  # how often it was reset: what was to happen in an earlier one does not
        self._fresh = True  # nothing was invoked since its init
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
        variables = self._variables = await self._adopt(version)
        if version.code is not None:
            await self.sandbox.mount(version.code, "/var/task")
        for layer in version.layers:
            await self.sandbox.mount(layer, "/opt")
        outcome = await self._initialize(version, variables, limit_s)
        if outcome.status == "success":
            self._init_ms = outcome.duration_ms
        return outcome

    async def _initialize(self, version: FunctionVersion, variables: dict[str, str], limit_s: float) -> Outcome:
        self._memory.begin()
        if self.image.version_arn:
            self.diary.say_now(start_phase_line("INIT_START", self.image.runtime, self.image.version_arn))
        return await self._come_up(self._start_function(version, variables), limit_s)

    async def reset(self) -> bool:
        """After a timeout or a crash: end all processes, keep the sandbox and /tmp; `initialize_again` is next. False: it is of no use."""
        lost = self._sandbox_gone or self._violation or (self.doomed and self._exit is None)
        replaced = self.snap_start or self.provisioned  # an init that is to be had ahead is not had within an invocation
        if self.state not in (State.BUSY, State.IDLE) or lost or replaced or self._talk is None:
            return False
        self.state = advance(self.state, State.RESETTING)
        self._life += 1
        try:
            async with asyncio.timeout(RESET_LIMIT_S):
                self._talk.hang_up()
                await self._talk.close()
                await self.sandbox.reset()
        except (OSError, SandboxError, TimeoutError) as error:
            log.warning("environment %s cannot be reset, and is replaced: %s", self.id, error or "no answer")
            return False
        if self.state is not State.RESETTING or self._sandbox_gone:
            return False
        self._exit, self._exit_at, self._loaded, self.doomed = None, math.inf, False, False
        self.needs_init = True
        return True

    async def initialize_again(self, limit_s: float) -> Outcome:
        """The init of one that was reset, which is part of an invocation."""
        version = self.version
        assert version is not None
        if self.state is State.FROZEN:
            self._thaw()
        self.needs_init, self._fresh = False, True
        self.state = advance(self.state, State.INITIALIZING)
        self.sandbox.limit(memory_mb=version.memory_mb, vcpus=max(1.0, version.memory_mb / VCPU_MB))
        return await self._initialize(version, self._variables, limit_s)

    async def restore(self, version: FunctionVersion, limit_s: float, spent_ms: float) -> Outcome:
        """Be a function whose snapshot the sandbox is a clone of: run its hooks. `spent_ms`: what restoring the sandbox took."""
        self._is_clone = self.snap_start = True
        variables = await self._adopt(version)
        self._memory.begin()
        self.diary.say_now(start_phase_line("RESTORE_START", self.image.runtime, self.image.version_arn))
        outcome = await self._come_up(self._wake(variables), limit_s)
        if outcome.status == "success":
            self._restored = (spent_ms + outcome.duration_ms, outcome.duration_ms)
        return outcome

    async def snapshot(self, directory: Path) -> None:
        """Write the sandbox of a function that is dormant, or ready, into a directory. The environment is of no other use afterwards."""
        await self.sandbox.snapshot(directory)

    async def put_to_rest(self, directory: Path) -> Rest:
        """Write it to disk while nobody uses it; then it is to be destroyed, and `revive` makes another one of what is returned."""
        version, credentials = self.version, self._credentials
        assert version is not None and credentials is not None
        await self.sandbox.snapshot(directory)
        self._credentials = None  # they are not revoked with this environment: the one that is revived has them
        return Rest(
            id=self.id,
            version=version,
            directory=directory,
            stream=self.diary.stream,
            credentials=credentials,
            token=self._token,
            snap_start=self.snap_start,
            invocations=self.invocations,
            created=self.created,
            since=self.idle_since,
        )

    async def revive(self, rest: Rest, limit_s: float) -> None:
        """Be what was put to rest; the sandbox is a clone of it. Raises `SandboxError` when its runtime does not go on."""
        version, sandbox, host = rest.version, self.sandbox, self._host
        self.version, self.state = version, advance(self.state, State.INITIALIZING)
        self.diary.open(version.log_group, rest.stream)
        self._credentials, self._token, self.created = rest.credentials, rest.token, rest.created
        self.snap_start = self._is_clone = rest.snap_start
        self.invocations = rest.invocations
        await self._keep(host.attach_edge(sandbox.edge, rest.credentials.access_key))
        sandbox.limit(memory_mb=version.memory_mb, vcpus=version.memory_mb / VCPU_MB)
        ended = self._begin(None, limit_s)
        talk = await self._open_runtime(Runtime.RESTORING)
        if talk.channel is not None and not wrapper_of(version):  # it waits on its channel, and does not say so again
            talk.session.next()
        if (await ended).status != "success" or self.doomed:
            raise SandboxError(f"environment {rest.id} does not go on where it was")
        self.state = advance(self.state, State.IDLE)

    async def _adopt(self, version: FunctionVersion) -> dict[str, str]:
        """Belong to a function from now on; returns its variables."""
        host, sandbox = self._host, self.sandbox
        self.version = version
        self.state = advance(self.state, State.INITIALIZING)
        self.diary.open(version.log_group, new_stream(version.version, host.clock.time()))
        self._credentials = host.credentials.issue(version.role, version.name, version.arn)
        await self._keep(host.attach_edge(sandbox.edge, self._credentials.access_key))
        sandbox.limit(memory_mb=version.memory_mb, vcpus=max(1.0, version.memory_mb / VCPU_MB))
        return function_variables(
            self.image,
            version,
            self._credentials,
            runtime_api=sandbox.runtime_api_address,
            edge=sandbox.edge_address,
            served=host.served,
            task_root=sandbox.task_root,
            log_stream=self.diary.stream,
            provisioned=self.provisioned,
            token=self._token if self.snap_start else None,
        )

    async def _come_up(self, start: Coroutine[Any, Any, None], limit_s: float) -> Outcome:
        """Start, and wait until the function is ready or has failed."""
        version, host = self.version, self._host
        assert version is not None
        self.diary.keep_tail(True)  # of what follows: INIT_START is not among what a caller is shown
        ended = self._begin(None, limit_s)
        try:
            if self.doomed:  # while it was made ready for the function
                start.close()
                self._end(self._demise(None))
            else:
                await start
        except EntrypointError as error:
            self._end(refusal(error, self.image, version))
        outcome = await ended
        if outcome.status == "success" and self.doomed:  # it got ready, and died at once
            outcome = replace(self._demise(None), duration_ms=outcome.duration_ms)
        if outcome.status == "success":
            self.sandbox.limit(memory_mb=version.memory_mb, vcpus=version.memory_mb / VCPU_MB)
            self.state = advance(self.state, State.IDLE)
            self.idle_since = host.clock.monotonic()
            self._memory.read()  # what its libraries take is not to be told any more once it has died
        return outcome

    async def _start_function(self, version: FunctionVersion, variables: dict[str, str]) -> None:
        talk = self._talk
        if talk is None or not self._loaded:
            talk = await self._open_runtime()
            await start_runtime(self.sandbox, self.image, version, variables)
        if talk.channel:
            talk.channel.initialize(variables, version.handler, self.sandbox.task_root, generic=self._loaded)

    async def _wake(self, variables: dict[str, str]) -> None:
        talk = await self._open_runtime(Runtime.DORMANT)
        if (channel := talk.channel) is not None:
            talk.session.rouse = lambda: channel.awake(variables)
        talk.session.wake()

    async def _open_runtime(self, begin: Runtime = Runtime.STARTING) -> Talk:
        """Open both ends on which a runtime may speak; a bundled bootstrap has the channel to itself."""
        session = RuntimeSession(
            on_ready=self._on_ready,
            on_init_error=lambda payload, kind: self._end(Outcome(payload, "error", kind)),
            on_result=lambda payload: self._end(Outcome(payload, "success", reusable=True)),
            on_error=lambda payload, kind: self._end(Outcome(payload, "error", kind, reusable=True)),
            on_violation=self._on_violation,
            on_dormant=self._on_ready,
            begin=begin,
        )
        talk = self._talk = Talk(self.sandbox, session)
        channel = bool(self.image.command)
        await talk.open(self._host.clock, self._show_credentials, channel=channel, bundled=channel and not wrapper_of(self.version))
        if talk.channel:
            talk.channel.on_hangup = self._on_hangup
        return talk

    def _show_credentials(self, token: str) -> dict[str, str] | None:
        """Of a function with SnapStart: current ones, for whoever has the token."""
        if self._credentials is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        expires = self._credentials.expires if self._is_clone else self._host.clock.time() + FLEETING_S
        return credentials_document(self._credentials, expires)

    async def _keep(self, opening: Awaitable[Closable]) -> None:
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
        self.diary.say(line)

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation, spent_s: float = 0.0) -> "asyncio.Future[Outcome]":
        """Hand an invocation to the runtime; the future is its end, and it never fails. `spent_s` of its time has gone already.

        One that dies before its runtime has the invocation ends it as undelivered.
        """
        if not self.doomed:
            if self.state is State.FROZEN:
                self._thaw()
            self.state = advance(self.state, State.BUSY)
        version = invocation.route.version
        left_s = max(0.001, version.timeout_s - spent_s)
        now_ms = int(self._host.clock.time() * 1000)
        invocation.deadline_ms = now_ms + int(left_s * 1000)
        if not self._fresh or not invocation.tail:  # what the init printed is shown with the first invocation
            self.diary.keep_tail(invocation.tail)
        self.diary.add([(now_ms, start_line(invocation.request_id, version.version))])
        ended = self._begin(invocation.request_id, left_s)
        self.invocations += 1
        self._fresh = False
        if self.doomed:
            self._end(replace(self._demise(invocation.request_id), undelivered=True))
        else:
            assert self._talk is not None
            self._talk.session.invoke(invocation)
        return ended

    @property
    def ready(self) -> bool:
        """Whether its runtime has asked for the next invocation: until then it may be about to end. One that was reset needs none."""
        return self.needs_init or (self._talk is not None and self._talk.session.state is Runtime.READY)

    def settle(self, on_settled: Callable[[], None]) -> None:
        """The invocation is answered: call back when the runtime asks for the next. It has what is left of the time for that."""
        self._on_settled = on_settled
        self._deadline.set(self._began, self._timeout_s)

    def rest(self) -> None:
        """The invocation is over and recorded: wait for the next one."""
        self.state = advance(self.state, State.IDLE)
        self.idle_since = self._host.clock.monotonic()
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
        self._began = self._host.clock.monotonic()
        self._timeout_s = limit_s
        self._deadline.set(self._began, limit_s)
        self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    def _end(self, outcome: Outcome) -> None:
        ended, self._ended = self._ended, None
        if ended is None or ended.done():
            return
        over = min(self._exit_at, self._host.clock.monotonic())
        outcome.duration_ms = self._timeout_s * 1000 if outcome.status == "timeout" else max(0.0, over - self._began) * 1000
        self._deadline.clear()
        ended.set_result(outcome)

    def cut(self) -> None:
        """The server stops: end what somebody waits for. The init of one that is kept, or becomes a snapshot, is its owner's business."""
        ahead = self.provisioned or self.snap_start
        if self.state is State.BUSY or (self.state is State.INITIALIZING and not ahead):
            self._end(replace(fault("Sandbox.Failure", STOPPED, self._request_id), cut=True))

    def _time_out(self) -> None:
        if self._on_settled is not None:
            self._on_settled = None
            self.on_gone(self, False)
        self._end(fault("Sandbox.Timedout", timeout_message(self._timeout_s), self._request_id, status="timeout"))

    # --- what the runtime and the agent say ---------------------------------------------------------------------------

    def _on_ready(self) -> None:
        if self.state is State.INITIALIZING:
            self._end(Outcome(b"", "success"))
        elif self._on_settled is not None:
            settled, self._on_settled = self._on_settled, None
            self._deadline.clear()
            settled()

    def _on_violation(self, reason: str) -> None:
        self.doomed = True
        self._violation = reason
        self._exit_at = min(self._exit_at, self._host.clock.monotonic())
        # The most usual one is to hang up: the exit that comes with it says more.
        self._host.clock.call_later(2 * SETTLE_S, self._die, self._life)

    def _on_hangup(self) -> None:
        """Nobody is there who could be given anything. What becomes of work under way, its exit or the deadline says."""
        if self._ended is None:
            self.doomed = True

    def _on_exit(self, ended: Exit) -> None:
        if self.state is State.RESETTING and ended.role != "sandbox":
            return  # it was killed
        self.doomed = True
        if self.state in ENDED:
            return
        self._exit_at = min(self._exit_at, self._host.clock.monotonic())
        if ended.role == "sandbox":
            self._exit, self._sandbox_gone = self._exit or ended, True
            self._die(self._life)
        elif ended.role == "runtime":
            self._exit = ended
            self._host.clock.call_later(SETTLE_S, self._die, self._life)

    def _die(self, life: int) -> None:
        if self.state in ENDED or life != self._life:
            return
        held = self._talk.session.held_answer() if self._talk else None
        if held is not None:
            payload, error_type = held
            self._end(Outcome(payload, "error" if error_type else "success", error_type))
        else:
            lost = self._talk is not None and self._talk.session.lost(self._exit)
            self._end(replace(self._demise(self._request_id), undelivered=lost))
        if self.state in (State.STARTING, State.IDLE, State.FROZEN) or self._on_settled is not None:
            self._on_settled = None
            self.on_gone(self, not self._sandbox_gone)

    def _demise(self, request_id: str | None) -> Outcome:
        out_of_memory = self._exit is not None and self._exit.signal == SIGKILL and self.state not in ENDED and self._memory.was_exceeded()
        return demise(self._exit, self._violation, request_id, out_of_memory=out_of_memory)

    def arm_freeze(self) -> None:
        """Freeze when the environment stays idle for a while."""
        if self._host.freeze_after_s > 0:
            self._freeze.set(self.idle_since, self._host.freeze_after_s)
        else:
            self._freeze_now()

    def _freeze_now(self) -> None:
        if self.state is not State.IDLE or self.doomed:
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
        self._host.clock.call_later(0, self._die, self._life)  # not now: whoever called is not done yet

    async def destroy(self) -> None:
        """End everything. Idempotent."""
        if self.state in ENDED:
            return
        self._memory.read()
        self.state = advance(self.state, State.STOPPING)
        self.doomed = True
        self._end(fault("Runtime.ExitError", NO_REASON, self._request_id))
        self._deadline.close()
        self._freeze.close()
        if self._credentials:
            self._host.credentials.revoke(self._credentials.access_key)
        async with AsyncExitStack() as last_first:  # a step that fails stops no other
            last_first.callback(lambda: setattr(self, "state", advance(self.state, State.GONE)))
            last_first.push_async_callback(self.sandbox.destroy)
            for server in self._servers:
                last_first.push_async_callback(server.close)
            if self._talk:
                last_first.push_async_callback(self._talk.close)
                last_first.callback(self._talk.hang_up)
            last_first.callback(self.diary.close)
