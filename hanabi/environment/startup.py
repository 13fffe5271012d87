"""The start of a function in an environment: by init, by restoring its snapshot, or by resuming from hibernation."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, NamedTuple

from hanabi.base.tasks import settle
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Outcome
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.credentials import EnvironmentCredentials
from hanabi.environment.extension_processes import EnvironmentExtensions, launch_outcome
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.environment.log import EnvironmentLog, stream_name
from hanabi.environment.memory import MemoryUse
from hanabi.environment.outcome import refused_outcome
from hanabi.environment.run import Run
from hanabi.environment.runtime_process import RuntimeProcess
from hanabi.environment.shared import SharedServices
from hanabi.environment.states import EnvironmentState, PhaseEvent, ProcessState
from hanabi.environment.variables import function_variables, initialization_type
from hanabi.errors import EFSMountFailure, EntrypointError, ExtensionLaunchError, ExtensionsNotReady, SandboxError
from hanabi.ledger import platform_events
from hanabi.ledger.platform_events import PlatformEvent, RuntimeName
from hanabi.ledger.report import init_report_line, runtime_version, start_phase_line
from hanabi.quotas import VCPU_MB

log = logging.getLogger(__name__)


class FirstReport(NamedTuple):
    """What only the first invocation after an init reports of that init."""

    init_us: int | None = None
    restore_us: tuple[int, int] | None = None  # (restore, its hooks)
    spent_us: int = 0  # an init that is part of the invocation itself


class Startup:
    """The start. Each method runs once, and again after a reset."""

    def __init__(
        self,
        sandbox: Sandbox,
        image: RuntimeImage,
        shared: SharedServices,
        state: EnvironmentState,
        log: EnvironmentLog,
        credentials: EnvironmentCredentials,
        memory: MemoryUse,
        run: Run,
        runtime: RuntimeProcess,
        extensions: EnvironmentExtensions,
    ) -> None:
        self._sandbox = sandbox
        self._image = image
        self._shared = shared
        self._state = state
        self._log = log
        self._credentials = credentials
        self._memory = memory
        self._run = run
        self._runtime = runtime
        self._extensions = extensions
        self._variables: dict[str, str] = {}
        self._kind = "on-demand"  # AWS_LAMBDA_INITIALIZATION_TYPE

    async def initialize(self, version: FunctionVersion, limit_s: float, *, provisioned: bool, snap_start: bool) -> Outcome:
        """Mount a function's code and run its init with at least a full vCPU. On success the environment is idle, its CPU share set."""
        self._variables = await self._assign(version, provisioned=provisioned, snap_start=snap_start)
        if snap_start and self._sandbox.copies_process:
            self._variables = {**self._variables, "HANABI_CAPTURE": "1"}  # the bundled bootstrap stops itself
        await self._mount(version)
        return await self._initialize(version, limit_s, None)

    async def _mount(self, version: FunctionVersion) -> None:
        if version.code is not None:
            await self._sandbox.mount(version.code, "/var/task")
        if version.opt is not None:
            await self._sandbox.mount(version.opt, "/opt")
        if version.file_systems:
            await self._share(version)
        if version.networks:
            await self._sandbox.reach(version.networks)

    async def _share(self, version: FunctionVersion) -> None:
        """Mount the file systems. Raises `EFSMountFailure`."""
        for arn, directory, path in version.file_systems:
            failure = EFSMountFailure(f"The function could not mount the EFS file system with access point {arn}")
            if directory is None:
                raise failure
            try:
                await self._sandbox.share(directory, path)
            except SandboxError as error:
                log.warning("%s of %s cannot be mounted: %s", arn, version.name, error)
                raise failure from None

    async def copy_process(self, version: FunctionVersion) -> None:
        """Begin as a copy of the process in the version's snapshot, before `restore`. Raises `SandboxError`."""
        assert version.snapshot is not None
        self._set_limits(version, least_vcpus=1.0)  # first: a pooled one gets only idle CPU time until then
        if self._state.runtime is not ProcessState.ABSENT:  # a pooled one's bootstrap
            await self._runtime.reset()
        await self._mount(version)
        await self._sandbox.restore_process(version.snapshot)

    async def initialize_again(self, version: FunctionVersion, limit_s: float, request_id: str) -> Outcome:
        """Run the init after a reset, as part of an invocation. The state is initializing already."""
        self._set_limits(version, least_vcpus=1.0)
        return await self._initialize(version, limit_s, request_id)

    async def restore(self, version: FunctionVersion, limit_s: float) -> Outcome:
        """Take the function whose snapshot the sandbox is a clone of; run its hooks."""
        self._credentials.in_clone = True
        variables = await self._assign(version, provisioned=False, snap_start=True)
        if version.networks and not self._sandbox.copies_process:  # a machine; a copied process was given them by `_mount`
            await self._sandbox.reach(version.networks)
        self._memory.begin()
        self._log_start("RESTORE_START", platform_events.restore_start(version, self._runtime_name, self._log.stream))
        return await self._run_init(version, self._runtime.restore(version, variables), limit_s, None)

    async def resume(self, hibernated: HibernatedEnvironment, limit_s: float) -> None:
        """Continue a hibernated environment, of which the sandbox is a clone. Raises `SandboxError` when its runtime does not resume."""
        version = hibernated.version
        self._state.advance(PhaseEvent.ASSIGN)
        if version.networks:
            await self._sandbox.reach(version.networks)
        self._log.open(version, hibernated.stream)
        self._credentials.in_clone = hibernated.snap_start
        await self._credentials.take_over(hibernated.credentials, hibernated.token)
        self._set_limits(version)
        ended = self._begin(limit_s, None)
        await self._runtime.resume(version)
        if (await ended).status != "success" or not self._state.usable:
            raise SandboxError(f"environment {hibernated.id} does not go on where it was")
        self._state.advance(PhaseEvent.INITIALIZED)

    def log_report(self, outcome: Outcome, phase: str, spent_ms: float = 0.0) -> None:
        """Log the end of the phase. INIT_REPORT is for a failed init or one done ahead that no invocation reports ("Failures during the
        Init phase"). `spent_ms`: what a restore took before."""
        duration_ms, status, error_type = spent_ms + outcome.duration_us / 1000, outcome.status, outcome.error_type
        if self._credentials.in_clone:
            self._log.platform(platform_events.restore_runtime_done(status, error_type), None)
            restored = init_report_line(duration_ms, status, error_type, word="RESTORE")
            self._log.platform(platform_events.restore_report(duration_ms, status, error_type), restored)
            return
        kind = self._kind
        shown = status != "success" or kind != "on-demand"
        self._log.platform(platform_events.init_runtime_done(kind, phase, status, error_type), None)
        line = init_report_line(duration_ms, status, error_type, phase=phase) if shown else None
        self._log.platform(platform_events.init_report(kind, phase, duration_ms, status, error_type), line)

    def _log_start(self, word: str, event: PlatformEvent) -> None:
        """Log the start of a phase, unless a container image is started: it has no version of a runtime."""
        image = self._image
        self._log.platform_now(event, start_phase_line(word, image.runtime, image.version_arn) if image.version_arn else None)

    @property
    def _runtime_name(self) -> RuntimeName | None:
        image = self._image
        return RuntimeName(runtime_version(image.runtime), image.version_arn) if image.version_arn else None

    async def complete(self, outcome: Outcome, version: FunctionVersion) -> None:
        """Read all output of a failed init, which becomes the end of an invocation."""
        await self._log.read_printed()
        self._log.flush()
        outcome.environment, outcome.stream, outcome.tail = self._sandbox.id, self._log.stream, self._log.written_tail
        outcome.max_memory_mb = self._memory.reported_mb(version.memory_mb)

    async def _assign(self, version: FunctionVersion, *, provisioned: bool, snap_start: bool) -> dict[str, str]:
        """Assign a function; returns its variables."""
        shared, sandbox = self._shared, self._sandbox
        self._state.advance(PhaseEvent.ASSIGN)
        self._kind = initialization_type(provisioned=provisioned, snap_start=snap_start)
        self._log.open(version, stream_name(version, shared.clock.time()))
        credentials = await self._credentials.issue(version)
        self._set_limits(version, least_vcpus=1.0)
        return function_variables(
            self._image,
            version,
            credentials,
            runtime_api=sandbox.runtime_api_address,
            endpoint_url=shared.endpoint_url or f"http://{sandbox.edge_address}",
            endpoint_variables=shared.endpoint_variables,
            task_root=sandbox.task_root,
            log_stream=self._log.stream,
            provisioned=provisioned,
            token=self._credentials.token if snap_start else None,
        )

    def _set_limits(self, version: FunctionVersion, least_vcpus: float = 0.0) -> None:
        self._sandbox.limit(memory_mb=version.memory_mb, vcpus=max(least_vcpus, version.memory_mb / VCPU_MB))

    async def _initialize(self, version: FunctionVersion, limit_s: float, request_id: str | None) -> Outcome:
        self._memory.begin()
        self._log.begin_init()
        phase = "init" if request_id is None else "invoke"
        self._log_start("INIT_START", platform_events.init_start(version, self._kind, phase, self._runtime_name, self._log.stream))
        return await self._run_init(version, self._runtime.start(version, self._variables), limit_s, request_id)

    async def _run_init(
        self, version: FunctionVersion, start: Coroutine[Any, Any, None], limit_s: float, request_id: str | None
    ) -> Outcome:
        """Start the runtime, and wait until the function is ready or has failed."""
        self._log.keep_tail(True)  # after INIT_START, which callers are not shown
        ended = self._begin(limit_s, request_id)
        try:
            if self._state.usable:
                await start
            else:  # it ended while it was made ready for the function
                start.close()
                self._run.end(self._runtime.exit_outcome())
        except EntrypointError as error:
            self._run.end(refused_outcome(error, self._image, version, request_id))
        except ExtensionLaunchError as error:
            self._run.end(launch_outcome(error, request_id))
        except ExtensionsNotReady:
            pass  # it has ended
        outcome = await ended
        self._extensions.log_states()
        if outcome.status == "success" and not self._state.usable:  # it got ready, and died at once
            duration_us, outcome = outcome.duration_us, self._runtime.exit_outcome()
            outcome.duration_us = duration_us
        if not self._state.ended:
            self._memory.read()  # read now: the memory of its libraries is unknown once it has died
        if outcome.status == "success":
            self._set_limits(version)
            self._state.advance(PhaseEvent.INITIALIZED)
        return outcome

    def _begin(self, limit_s: float, request_id: str | None) -> "asyncio.Future[Outcome]":
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def end(outcome: Outcome) -> None:
            settle(ended, outcome)
            self._extensions.give_up()

        self._run.begin(request_id, self._shared.clock.monotonic(), limit_s, end)
        return ended
