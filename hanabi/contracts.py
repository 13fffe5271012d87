"""The contracts of the house, in one look: Invocation -> Environment -> Result, Sandbox, Store, Clock.

Every room speaks to the next one through these shapes, and nothing in here imports a room.
Units are in the names: `_s` seconds, `_ms` milliseconds, `_mb` MiB; bytes otherwise.
"""

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

# --- what exists (control) --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerCode:
    """The image that a function is made of, and what the function starts in it. None: what the image itself says."""

    image: str  # where it is, pinned: "registry.example/app@sha256:<hex>"
    digest: str  # of its manifest, hexadecimal
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """Everything an invocation needs of one version of a function, resolved once and never changed.

    A change to `$LATEST` makes a new object with a new `key`; environments belong to one key for life.
    """

    key: str  # unique for (function incarnation, version, revision)
    name: str
    version: str  # "$LATEST" or "1", "2", ...
    arn: str  # unqualified function ARN
    account: str
    region: str
    runtime: str  # "python3.11", "provided.al2023", ...
    handler: str
    memory_mb: int
    timeout_s: int
    tmp_mb: int
    environment: Mapping[str, str]
    role: str  # role ARN
    code: Path | None  # the unpacked code, becomes /var/task; None: it is in the container image
    log_group: str
    layers: tuple[Path, ...] = ()  # unpacked layers, become /opt
    snapshot: Path | None = None  # of a published version with SnapStart: environments are clones of it
    container: ContainerCode | None = None  # of a function of PackageType Image; `runtime` and `handler` are empty then


@dataclass(slots=True)
class Concurrency:
    """The concurrency setting of one function, shared by all its versions; `reserved` None means unreserved."""

    function: str
    reserved: int | None = None


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a version has of the provisioned concurrency it is to have."""

    allocated: int = 0  # initialised environments, those at work included
    whole: bool = False  # it had all since they were last asked for; one that goes is replaced
    failure: str | None = None  # why there are not more: a `StatusReason`


@dataclass(frozen=True, slots=True)
class Route:
    """Where one invocation of (function, qualifier) goes."""

    version: FunctionVersion
    invoked_arn: str  # as the caller named it, qualifier included: what the context object shows
    concurrency: Concurrency


class Catalog(Protocol):
    """What exists, as the invoke path sees it. All in memory; a resolve is two dictionary reads."""

    def resolve(self, function: str, qualifier: str | None) -> Route:
        """The route for a function (bare name) and a version, alias or None; draws by weight for a weighted alias.

        Raises `ResourceNotFound`, or `ResourceConflict` when the state does not allow an invoke.
        """

    def on_retired(self, callback: Callable[[str], None]) -> None:
        """Call back with each `FunctionVersion.key` that will never be resolved again (updated or deleted)."""

    def account_concurrency(self) -> tuple[int, int]:
        """(account limit, unreserved limit): 1000 and 1000 minus all reserved."""


# --- one invocation (invoke) ------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One request to run a function: what the environment is handed."""

    request_id: str
    route: Route
    payload: bytes
    client_context: str = ""  # JSON text, already base64-decoded
    trace: str = ""  # X-Amzn-Trace-Id
    tail: bool = False  # LogType=Tail
    source: str = "sync"  # "sync" | "event" | "url"
    attempt: int = 1  # of an event: how often its function was, or is, run for it
    deadline_ms: int = 0  # Unix ms, set when the environment gets it


@dataclass(slots=True, kw_only=True)
class Record:
    """The one record of an invocation; REPORT, metrics, bill and API answer derive from it."""

    request_id: str
    function: str
    version: str
    memory_mb: int
    started_ms: int  # Unix ms
    duration_ms: float
    billed_ms: int  # ceil(init + duration)
    init_ms: float | None  # of a cold start, else None
    max_memory_mb: int
    status: str  # "success" | "error" | "timeout"
    error_type: str | None
    environment: str
    source: str
    trace: str = ""
    restore: tuple[float, float] | None = None  # (ms of the restore, ms of its hooks) of a cold start from a snapshot
    attempt: int = 1  # of an event that failed before: 2, then 3


@dataclass(slots=True, kw_only=True)
class Result:
    """What the caller gets. `function_error` is None or "Unhandled"."""

    payload: bytes
    function_error: str | None
    version: str
    log_tail: bytes  # last 4 KB of this invocation's log when asked for, else empty
    record: Record


class Invoker(Protocol):
    """Runs one invocation to its result."""

    async def invoke(self, invocation: Invocation) -> Result:
        """Admission, environment, run, record. Raises `TooManyRequests` and other errors of `hanabi.errors`.

        A failing function is not an exception: it is a Result with `function_error`.
        """


class EventQueue(Protocol):
    """Durable asynchronous invocations."""

    async def put(self, route: Route, payload: bytes, *, request_id: str, client_context: str, trace: str, qualifier: str | None) -> None:
        """Returns when the event is committed to disk: a 202 may be sent."""


# --- the record (ledger) ----------------------------------------------------------------------------------------------

LogEvent = tuple[int, str]  # (Unix ms, text without trailing newline)


class Journal(Protocol):
    """The append-only record: log lines and invocation records. Writes reach the kernel before they return."""

    full: bool  # no invocation may begin: there might be no room for its record

    def log(self, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append log events to a stream (made when new)."""

    def finish(self, record: Record, group: str, stream: str, events: Sequence[LogEvent]) -> None:
        """Append an invocation's record together with its last log events, in one write."""

    async def settle(self) -> None:
        """Return when all that was written before the call can be queried."""


# --- environments (fleet -> sandbox) ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeImage:
    """A runtime root, ready to run. Built once, read-only, shared by all environments and drivers."""

    runtime: str  # "python3.11"; "image" for a container image of the user's
    digest: str
    root: Path  # read-only root directory with empty /var/task, /var/task/lib, /opt, /opt/lib, /var/runtime, /tmp, /dev, /proc
    runtime_dir: Path | None  # becomes /var/runtime: the bundled bootstrap; None: /var/runtime is the root's own
    command: tuple[str, ...]  # starts the bundled bootstrap; empty: OS-only, run /var/task/bootstrap (or /opt/bootstrap)
    environment: Mapping[str, str]  # LANG, PATH, LD_LIBRARY_PATH, TZ, AWS_EXECUTION_ENV, ...
    version_arn: str  # for INIT_START; empty: there is none
    clonable: bool = False  # its bootstrap may be part of a snapshot: it makes itself another one in each clone
    sized: bool = False  # its interpreter takes the size of its heap at its start, so it is started for one size of memory
    entry_point: tuple[str, ...] = ()  # of a container image: what is started unless the function says otherwise ...
    arguments: tuple[str, ...] = ()  # ... with these words after it ...
    working_directory: str = "/"  # ... in this directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """A process that a sandbox may come with, started before it was asked for: a bootstrap that waits for its function."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str = "/"


@dataclass(frozen=True, slots=True)
class GuestKernel:
    """What a microVM boots: an ELF kernel, and for one that needs modules the initramfs that brings them and the agent as /init.

    In that initramfs the text file /modules lists modules by absolute path, one a line, in the order in which they are inserted.
    """

    name: str  # "own", "cloud" or "file": how it came
    version: str  # for people: the package's
    digest: str  # SHA-256 of all the bytes that boot, in hexadecimal
    image: Path
    initrd: Path | None
    boot_args_extra: str  # added to the command line; may be empty


@dataclass(frozen=True, slots=True)
class Firecracker:
    """The pair of programs that run microVMs, of one version."""

    version: tuple[int, int, int]
    firecracker: Path
    jailer: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a driver needs to make a sandbox. It says nothing of functions."""

    id: str  # [a-z0-9-]{1,40}
    image: RuntimeImage
    memory_mb: int  # cap on memory, processes' and page cache alike
    tmp_mb: int  # size of /tmp, on disk
    mounts: tuple[tuple[Path, str], ...] = ()  # (host directory, target), read-only, nosuid, nodev
    snapshot: Path | None = None  # a function's own: what `Sandbox.snapshot` wrote
    preload: Preload | None = None  # what it may come with, as role "runtime"; `Sandbox.preloaded` says whether it did


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: `status` when it exited, `signal` when it was killed."""

    role: str
    status: int | None
    signal: int | None
    read: int | None = None  # of the runtime in a microVM: bytes of the runtime channel, since it was opened, that it has read


class Sandbox(Protocol):
    """One isolated place with the agent running as its first process and nothing else yet."""

    id: str
    runtime: socket.socket  # host end of the runtime channel (stream), taken over by whoever speaks on it; the child has the other as fd 4
    logs: int  # read end, non-blocking, of the pipe that is the processes' stdout and stderr
    runtime_api: socket.socket  # listening socket: what is accepted here comes from inside, and only from there
    edge: socket.socket  # the same for the AWS endpoint
    runtime_api_address: str  # as seen inside: "127.0.0.1:9001"
    edge_address: str  # as seen inside: "127.0.0.1:9002"
    preloaded: bool  # whether the spec's `preload` runs already
    memory_limit_mb: int | None  # a function that needs more does not fit this sandbox; None: `limit` may set any
    task_root: str  # as seen inside: "/var/task", but in the `process` driver, which cannot mount
    on_exit: Callable[[Exit], None]  # set by the owner; called on the loop for each started process that ended;
    # role "sandbox" when the sandbox itself is gone

    async def start(self, role: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str) -> None:
        """Start a process as the function's user. Raises `EntrypointError` when it cannot be executed."""

    async def kill_processes(self) -> None:
        """SIGKILL every process but the agent; returns when all are gone."""

    async def reset(self) -> None:
        """Kill as `kill_processes`, and make `runtime` anew: no later process meets what an earlier one left in the channel.
        What is mounted, and /tmp, stay. Raises `SandboxError`."""

    def signal(self, role: str, signum: int) -> None:
        """Send a signal to a started process; one that has gone is no error."""

    def freeze(self) -> None:
        """Stop all CPU use. One write, no wait."""

    def thaw(self) -> None:
        """Undo `freeze`."""

    def limit(self, *, memory_mb: int, vcpus: float | None) -> None:
        """Set the memory cap and the CPU share (None: unthrottled)."""

    async def trim(self) -> None:
        """Give memory back to the host, as far as the driver can; called while idle, frozen or not. Work may arrive before it ends."""

    def peak_memory(self) -> int:
        """Peak memory of its processes since the last `reset_peak`, bytes: files that they map included, whoever read them first;
        what is only cached is not. One pread, and more when it has grown."""

    def reset_peak(self) -> None: ...

    def cpu_usage(self) -> int:
        """CPU time used so far, microseconds."""

    def oom_kills(self) -> int:
        """How many processes the memory cap has killed so far."""

    async def mount(self, source: Path, target: str) -> None:
        """Mount a host directory read-only, nosuid, nodev into the running sandbox."""

    async def snapshot(self, directory: Path) -> None:
        """Write it, with all that runs in it, into a new directory; it is of no other use then. Raises `SandboxError`."""

    async def destroy(self) -> None:
        """Kill all and release all: processes, mounts, cgroups, slots. Idempotent; never raises for what is gone."""


class Driver(Protocol):
    """An isolation driver: `firecracker`, `oci`, `process`."""

    name: str
    overhead_mb: int  # of host memory that a sandbox takes besides its own
    takes_snapshots: bool  # whether `Sandbox.snapshot` can work, and `create` from what it wrote

    def describe(self) -> str:
        """What it is and why it was chosen, for the ready line."""

    async def open(self) -> None:
        """Clean what an earlier run left behind, then make ready. Raises `IsolationUnavailable` with the fix."""

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox, unthrottled, with its agent running. Raises `SandboxError`."""

    async def prepare(self, image: RuntimeImage, preload: Preload | None) -> None:
        """Make ahead of time what sandboxes of an image are made of, as far as that takes long. Raises `SandboxError`."""

    async def prepare_directory(self, directory: Path) -> None:
        """Likewise for a directory that will be mounted: a function's code, a layer."""

    async def close(self) -> None:
        """Release what `open` made. All sandboxes have been destroyed before."""


# --- small things everything uses -------------------------------------------------------------------------------------


class Timer(Protocol):
    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time, injected, so that tests own it."""

    def time(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer: ...


class Store(Protocol):
    """Durable documents by key, with compare-and-set. What the values mean is the caller's business.

    Values are JSON objects; keys are `/`-separated. Every write is on disk when it returns. A document that cannot be read is left out of
    lists, raises `DocumentDamaged` where it is asked for, and is never lost: what is written or deleted under its key puts it aside first.
    """

    damaged: dict[str, str]  # key -> why, of those that were met; "it" is the subject

    async def get(self, key: str) -> tuple[dict[str, Any], int] | None:
        """(value, revision) or None."""

    async def put(self, key: str, value: dict[str, Any], *, revision: int | None = None) -> int:
        """Write and return the new revision. `revision` given: only if it is the current one (0: only if absent),
        else raises `RevisionMismatch`."""

    async def delete(self, key: str, *, revision: int | None = None) -> None: ...

    async def list(self, prefix: str) -> list[tuple[str, dict[str, Any], int]]:
        """All (key, value, revision) below a prefix, in key order."""

    async def put_aside(self, key: str) -> None:
        """Move a document, whatever it is, to `quarantine/<new revision>/<key>`."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who signed a request."""

    account: str
    arn: str
    user_id: str
    is_root: bool  # the owner's own key, as against a function's role credentials
    role: str = ""  # ARN of the role whose session it is
    function: str = ""  # ARN of the function in whose environment the credentials are


@dataclass(frozen=True, slots=True)
class Credentials:
    """Session credentials of a role, given to one environment."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires: float = 0.0  # Unix s


class CredentialIssuer(Protocol):
    def issue(self, role_arn: str, session_name: str, function_arn: str = "") -> Credentials:
        """Of an environment of a function, which they are tied to."""

    def revoke(self, access_key: str) -> None: ...


@dataclass(slots=True)
class HttpRequest:
    """A parsed HTTP/1.1 request, body whole. Header names are lower-case, in order, duplicates kept."""

    method: str
    target: str  # as on the request line: raw path + "?" + raw query
    path: str  # raw (still percent-encoded) path
    query: str  # raw query, no "?"
    headers: list[tuple[str, str]]
    body: bytes | Path  # a Path (a spooled file the server deletes after the response) when over 1 MiB and the route allows
    peer: str = ""  # remote IP, "" for sockets from inside
    trailers: Sequence[tuple[str, str]] = ()  # as headers, but after a chunked body
    verified: bool = False  # its signature holds: set by who verified it, for the server, which makes room for such clients
    operation: str = ""  # for the access log, set by who knows: "lambda:Invoke"
    caller: str = ""  # likewise: an ARN, or the id of a function URL

    def header(self, name: str, default: str = "") -> str:
        for key, value in self.headers:
            if key == name:
                return value
        return default


@dataclass(slots=True)
class HttpResponse:
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]
