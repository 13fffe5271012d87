"""Function versions and invocation routes, as the packages below the control plane see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

TENANT_MARK = "#"  # in a key: what follows is a tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerCode:
    """A function's container image and its ImageConfig overrides. None: the image's own setting."""

    image: str  # where it is, pinned: "registry.example/app@sha256:<hex>"
    digest: str  # of its manifest, hexadecimal
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str | None = None


@dataclass(frozen=True, slots=True)
class JsonLogs:
    """The LoggingConfig of a function whose logs are JSON: the lowest level of each kind that is logged."""

    application: str = "INFO"  # TRACE | DEBUG | INFO | WARN | ERROR | FATAL
    system: str = "INFO"  # DEBUG | INFO | WARN


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
    networks: tuple[str, ...] = ()  # CIDR, that it may reach besides the Internet
    file_systems: tuple[tuple[str, Path | None, str], ...] = ()  # (ARN, host directory, path inside), read-write; None: it is not there
    traced: bool = False  # TracingConfig Active: its invocations are sampled
    record_name: str = ""  # the function's name in what all accounts and regions share; as its own, if nothing is said
    record_group: str = ""  # likewise its log group's
    json_logs: JsonLogs | None = None  # None: LogFormat Text
    opt: Path | None = None  # its layers, merged ahead of time into one directory: becomes /opt
    snapshot: Path | None = None  # of a published version with SnapStart: environments are clones of it
    runtime_version: str = ""  # the id of the only runtime version that it runs on; empty: whichever there is
    tenant: str = ""  # of a function with tenant isolation: its environments are this tenant's alone
    tenant_environments_max: int = 0  # of all its tenants together; 0: it has no tenant isolation
    container: ContainerCode | None = None  # of a function of PackageType Image; `runtime` and `handler` are empty then

    def __post_init__(self) -> None:
        object.__setattr__(self, "record_name", self.record_name or self.name)
        object.__setattr__(self, "record_group", self.record_group or self.log_group)


@dataclass(slots=True)
class Concurrency:
    """The concurrency setting of one function, shared by all its versions; `reserved` None means unreserved."""

    function: str  # its name in the record
    reserved: int | None = None
    scope: str = ""  # of that name: functions of one scope share the concurrency of their account and region
    limits: "ConcurrencyLimits | None" = field(
        default=None, compare=False
    )  # those of the account and region; None: as the admission has them


@dataclass(frozen=True, slots=True)
class Allocation:
    """How much of a version's requested provisioned concurrency is ready."""

    allocated: int = 0  # initialised environments, those at work included
    complete: bool = False  # it had all since they were last asked for; one that goes is replaced
    failure: str | None = None  # why there are not more: a `StatusReason`


@dataclass(frozen=True, slots=True)
class Route:
    """The target of one invocation of (function, qualifier)."""

    version: FunctionVersion
    invoked_arn: str  # as the caller named it, qualifier included: what the context object shows
    concurrency: Concurrency


@dataclass(frozen=True, slots=True)
class EventRules:
    """What is set for the asynchronous events of one qualifier of a function. None: Lambda's default."""

    retries: int | None = None  # after errors of the function
    age_s: int | None = None  # of an event, at most
    arn: str = ""  # of the function, with the qualifier
    on_success: str | None = None  # the ARN of where its results go
    on_failure: str | None = None
    may_recurse: bool = False  # its RecursiveLoop is Allow: what comes back to it again and again goes on


class ConcurrencyLimits(Protocol):
    """Concurrency limits for admission. All in memory: read for each invocation."""

    def account_concurrency(self, scope: str = "") -> tuple[int, int]:
        """(account limit, unreserved limit) of an account and region: 1000 and 1000 minus all reserved."""

    def is_reserved(self, name: str) -> bool:
        """Whether a function has reserved concurrency: its provisioned concurrency comes out of that."""


class Catalog(Protocol):
    """The functions that exist, as the invoke path sees them. All in memory; a resolve is two dictionary reads."""

    def resolve(self, function: str, qualifier: str | None) -> Route:
        """The route for a function and a version, alias or None; draws by weight for a weighted alias.

        The function goes by its own name in the catalog of one account and region, by its name in the record in that of all of them.
        Raises `ResourceNotFound`, or `ResourceConflict` when the state does not allow an invoke.
        """

    def event_rules(self, function: str, qualifier: str | None) -> EventRules:
        """The rules for a function's events now. A function that is not there has none of its own."""
