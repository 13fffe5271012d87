"""The extensions of an environment: their processes, what its phases wait for because of them, and what the end of one means.

AWS Lambda developer guide, "Augment Lambda functions using Lambda extensions" and "Understanding the Lambda execution environment
lifecycle". They are found anew at each init, as after a reset.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from errno import EACCES
from itertools import islice
from pathlib import Path
from signal import SIGKILL

from hanabi.base.tasks import settle
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.invocation import Invocation, Outcome
from hanabi.contracts.sandbox import Exit, Sandbox
from hanabi.environment.log import EnvironmentLog
from hanabi.environment.outcome import ended_words, error_outcome, exit_message
from hanabi.environment.states import EnvironmentState, ProcessEvent, ProcessState
from hanabi.errors import EntrypointError, ExtensionLaunchError, ExtensionsNotReady, SandboxError
from hanabi.ledger import platform_events
from hanabi.quotas import EXTENSIONS_MAX
from hanabi.runtime.extensions import CRASH, LAUNCH_ERROR, SHUTDOWN, Extensions

DIRECTORY = "/opt/extensions"
ROLE_PREFIX = "extension/"  # of a role: a file may be named "runtime"
STOP_LIMIT_S = 5.0
LISTED_MAX = 1024  # entries of the directory that are looked at
NAME_SHOWN_CHARS = 128  # of a name in the log
# What only the runtime's process has: "Lambda Extensions API", "Configuring extensions". Names with a leading underscore, too.
RUNTIME_VARIABLES = frozenset(
    {
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)


def role_of(name: str) -> str:
    return ROLE_PREFIX + name


def find_extensions(opt: Path) -> list[str]:
    """List what is to be started of a host directory that becomes /opt, by name. Links are followed in the sandbox only.

    More than the limit means that none can start, so no more are read.
    """
    place = opt / "extensions"
    if opt.is_symlink() or place.is_symlink():
        return []
    try:
        with os.scandir(place) as entries:
            return sorted(each.name for each in islice(entries, LISTED_MAX) if not each.is_dir(follow_symlinks=False))[: EXTENSIONS_MAX + 1]
    except OSError:
        return []


def extension_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Make an extension's variables from the function's."""
    return {name: value for name, value in variables.items() if name not in RUNTIME_VARIABLES and not name.startswith(("_", "HANABI_"))}


class EnvironmentExtensions:
    """The extensions. `on_progress` is called when one of them has changed: then what waits for them may go on."""

    def __init__(
        self, sandbox: Sandbox, image: RuntimeImage, state: EnvironmentState, log: EnvironmentLog, on_progress: Callable[[], None]
    ) -> None:
        self.current: Extensions | None = None  # None: there is no function yet
        self.take_invocations = False  # whether the next invocation is told to any, and waits for them
        self._sandbox = sandbox
        self._image = image
        self._state = state
        self._log = log
        self._on_progress = on_progress
        self._registered: asyncio.Future[bool] | None = None
        self._lost: Exit | None = None  # the first one that ended by itself
        self._killed: set[str] = set()  # roles, until their ends are known
        self._all_killed: asyncio.Future[None] | None = None

    # --- their beginning ----------------------------------------------------------------------------------------------

    def begin(self, version: FunctionVersion) -> Extensions:
        """Begin anew, with none."""
        self._log.close_extensions()
        self._lost, self.take_invocations = None, False
        self.current = Extensions(version, self._progress)
        self.current.subscribe = self._log.telemetry.subscribe
        return self.current

    async def start(self, version: FunctionVersion, variables: Mapping[str, str]) -> None:
        """Start the external ones, and wait until they have registered: only then the runtime starts.

        Raises `ExtensionLaunchError`, `SandboxError`, and `ExtensionsNotReady` when the init ends meanwhile.
        """
        extensions = self.begin(version)
        names = find_extensions(self._image.root / "opt" if version.opt is None else version.opt)
        if not names:
            return
        own = extension_variables(variables)
        for name in names:
            await self._launch(extensions, name, own)
        if self._lost is not None or not extensions.are_registered:
            self._registered = asyncio.get_running_loop().create_future()
            if not await self._registered:
                raise ExtensionsNotReady()

    async def _launch(self, extensions: Extensions, name: str, variables: Mapping[str, str]) -> None:
        extension = extensions.expect(name)
        path, role = f"{DIRECTORY}/{name}", role_of(name)
        self._state.advance_process(role, ProcessEvent.START)
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self._log.read_extension(name, ours)
        try:
            await self._sandbox.start(role, (path,), variables, "/", output=theirs)
        except EntrypointError as error:
            self._state.advance_process(role, ProcessEvent.KILL)
            extensions.fail_launch(extension, "PermissionDenied" if error.errno == EACCES else "UnknownError")
            raise ExtensionLaunchError(f"fork/exec {path}: {os.strerror(error.errno).lower()}") from None
        finally:
            os.close(theirs)

    def give_up(self) -> None:
        """Stop waiting for registrations: the init has ended."""
        if self._registered is not None:
            settle(self._registered, False)

    def note_runtime_ready(self) -> bool:
        """Note that the runtime's init is over: nobody may register any more. Returns whether the extensions' inits are over, too."""
        extensions = self.current
        if extensions is None:
            return True
        extensions.close_registration()
        self.take_invocations = extensions.take_invocations
        return extensions.are_ready

    @property
    def end_init(self) -> bool:
        """Whether the whole init is over, the runtime's included."""
        return self.current is not None and not self.current.is_open and self.current.are_ready

    def log_states(self) -> None:
        """Log what has become of each, at the end of the init."""
        for extension in sorted(self.current or (), key=lambda each: not each.external):
            name, error_type = _shown(extension.name), extension.error_type and _shown(extension.error_type)
            event = platform_events.extension(name, extension.state.value, list(extension.events), error_type)
            self._log.platform(event, extension_line(name, extension.state.value, extension.events, error_type))

    # --- invocations --------------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> None:
        assert self.current is not None
        self.current.invoke(invocation)

    @property
    def are_done(self) -> bool:
        """Whether all have ended their work on the invocation."""
        return self.current is None or self.current.are_done

    # --- their end ----------------------------------------------------------------------------------------------------

    @property
    def are_external(self) -> bool:
        """Whether any was started as a process of its own."""
        return any(each.external for each in self.current or ())

    @property
    def are_any(self) -> bool:
        return bool(self.current)

    @property
    def roles(self) -> list[str]:
        return [role_of(each.name) for each in self.current or () if each.external]

    def shut_down(self, role: str, reason: str, deadline_ms: int) -> bool:
        """Tell one of the end. False: it did not ask to be told."""
        for extension in self.current or ():
            if role_of(extension.name) == role and SHUTDOWN in extension.events:
                assert self.current is not None
                self.current.shut_down(extension, reason, deadline_ms)
                return True
        return False

    @property
    def is_lost(self) -> bool:
        """Whether one has ended by itself: then the environment ends."""
        return self._lost is not None

    def on_exit(self, ended: Exit) -> bool:
        """Note the end of the process of one. Returns whether it ended by itself."""
        if self._state.extensions[ended.role] is not ProcessState.EXITED:
            self._killed.discard(ended.role)
            if self._all_killed is not None and not self._killed:
                settle(self._all_killed)
            return False
        if self._lost is None:
            self._lost = ended
        if self.current is not None:
            self.current.exit(ended.role.removeprefix(ROLE_PREFIX))
        return True

    async def stop(self, version: FunctionVersion) -> None:
        """Kill the external ones, before a snapshot: environments that are made of it start their own. Raises `SandboxError`."""
        self._killed = set(self._state.living(self.roles))
        self.begin(version)
        if not self._killed:
            return
        self._all_killed = asyncio.get_running_loop().create_future()
        for role in self._killed:
            self._state.advance_process(role, ProcessEvent.KILL)
            self._sandbox.signal(role, SIGKILL)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._all_killed
        except TimeoutError:
            raise SandboxError(f"the extensions of environment {self._sandbox.id} do not end") from None

    def failure(self, exit: Exit | None, request_id: str | None) -> Outcome | None:
        """Return the outcome of a run that an extension ended, or that it had foretold to end; `exit`: the runtime's own."""
        told = None if self.current is None else self.current.first_error
        if self._lost is not None:
            return error_outcome(told or CRASH, ended_words(self._lost) or "exit code 0", request_id)
        if told is not None and exit is not None:
            return error_outcome(told, exit_message(exit), request_id)
        return None

    def _progress(self) -> None:
        if self._registered is not None and self._lost is None and self.current is not None and self.current.are_registered:
            settle(self._registered, True)
        self._on_progress()


def launch_outcome(error: ExtensionLaunchError, request_id: str | None) -> Outcome:
    """Make the outcome of an init whose extension could not be started."""
    return error_outcome(LAUNCH_ERROR, str(error), request_id)


def extension_line(name: str, state: str, events: Sequence[str], error_type: str | None) -> str:
    """`EXTENSION\\tName: tool\\tState: Ready\\tEvents: [INVOKE,SHUTDOWN]`, as in Lambda's logs."""
    line = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{','.join(events)}]"
    return f"{line}\tError Type: {error_type}" if error_type else line


def _shown(text: str) -> str:
    """What an extension calls itself, or its error, for the log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:NAME_SHOWN_CHARS])
