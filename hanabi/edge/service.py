"""What a service declares to the edge: its name and its operations, each with action, resource, body limits and handler."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.contracts.invocation import Cancellable
from hanabi.control.arns import AccountRegion
from hanabi.edge.protocols.wording import PLAIN, Wording
from hanabi.errors import ApiError

T = TypeVar("T")
DOCUMENT_BYTES = 1 << 20  # of a request, unless its operation takes more
PLACES_KEPT = 4096  # accounts and regions whose operations of a service are in memory

# Parameters and results are plain dictionaries by the model's member names. Blobs are bytes (of a large upload a Path,
# deleted when the handler returns, unless moved away), timestamps Unix seconds or datetimes, a status code is an int.
# In a result a blob that is the whole body may be a `ByteStream`, an event stream is `protocols.event_stream.Events`.
Params = dict[str, Any]
Context = Mapping[str, str | tuple[str, ...]]
Done = Callable[["Params | Exception"], None]
"""Called once with an operation's result, or with what its handler would raise; perhaps before the call that it was given to returns."""


@dataclass(slots=True)
class Call:
    """One verified request for one operation."""

    request_id: str
    principal: Principal
    account_region: AccountRegion  # whose resources it is about: the caller's account, and the region that it signed for
    request: HttpRequest
    operation: str
    response_headers: list[tuple[str, str]] = field(default_factory=list)  # that the service sends beyond its model's

    @property
    def region(self) -> str:
        return self.account_region.region


Handler = Callable[[Call, Params, T], Coroutine[Any, Any, Params]]


@dataclass(frozen=True, slots=True)
class RequiredPermission:
    """One action on one resource that the caller must be allowed."""

    action: str
    resource: str  # its ARN in canonical form, made of what was found, never a string of the request; or "*"
    context: Context = field(default_factory=dict)  # condition keys of this resource, besides those of every request
    also: tuple[str, ...] = ()  # other ARNs of the same resource, where policies may name it by any of them
    policy: tuple[Mapping[str, Any], ...] = ()  # the statements of its resource policy
    trust: bool = False  # `policy` is a role's trust policy: it must let the caller in, the owner too


@dataclass(frozen=True, slots=True)
class RequestBody:
    """How large an operation's body may be, and the answer to a larger one."""

    limit_bytes: int = DOCUMENT_BYTES
    spool: bool = False  # over 1 MiB it goes to a file, and the blobs in it are handed on as Paths
    refuse: Callable[[HttpRequest, int | None], ApiError] | None = None  # the error, by the head and the declared size of a request
    check_blob: Callable[[int], None] | None = None  # raises `ApiError` for a blob of so many bytes that came as a Path


DOCUMENT = RequestBody()


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One operation. What `resolve` finds is authorised and then passed to the handler, which looks nothing up itself.

    `resolve` returns what the parameters name, or an awaitable of it. `permissions` returns what the caller must be allowed on that;
    `NOTHING` for an operation that any signed caller may call. An empty result of any other function is refused.
    `begin` is the fast path: it handles calls without a task and returns a function that cancels one; None leaves the call to `handler`.
    `action` and `resource` are for documentation: "lambda:InvokeFunction" on "function:NAME:QUALIFIER".
    """

    handler: Handler[T]
    resolve: Callable[[Params], T | Awaitable[T]]
    permissions: Callable[[T, Params], Iterable[RequiredPermission]]
    action: str = ""
    resource: str = ""
    begin: Callable[[Call, Params, T, Done], Cancellable | None] | None = None
    body: RequestBody = DOCUMENT
    owner_too: bool = False  # what it touches may be closed to the owner's key: a role by its trust policy
    complete: Callable[[Call, Params], None] | None = None  # fills in, before `resolve`, what a call leaves out by who makes it


def NOTHING(target: Any, params: Params) -> tuple[()]:
    """The `permissions` of an operation that needs no permission."""
    return ()


class Service:
    """One AWS service. A subclass has its `operations` by their names in AWS's model. Handlers and `resolve` raise `ApiError`s.

    The edge takes all else from that model: protocol, paths, target prefix, signing name, shapes and constraints.
    """

    name: str  # of AWS's model, as botocore has it
    wording: Wording = PLAIN  # of its validation messages
    operations: Mapping[str, Operation[Any]]  # of any account and region, as far as all have the same targets and bodies

    async def at(self, place: AccountRegion) -> Mapping[str, Operation[Any]]:
        """Return its operations on what an account has in a region. Where these differ, see `EachPlace`."""
        return self.operations

    def has(self, place: AccountRegion) -> bool:
        """Whether an account has something in a region that other accounts' callers may ask for."""
        return False

    def forget(self, place: AccountRegion) -> None:
        """Let go of what is kept of an account and region; `at` makes it anew."""

    def drain(self) -> None:
        """End what would not end by itself: the server takes nothing new any more."""


class EachPlace(Service):
    """A service made anew for each account and region by `make`. `first` is that of one of them. `has`: as in `Service`."""

    def __init__(
        self,
        first: Service,
        make: Callable[[AccountRegion], Awaitable[Service]],
        has: Callable[[AccountRegion], bool] = lambda place: False,
    ) -> None:
        self.name, self.wording, self.operations = first.name, first.wording, first.operations
        self._make = make
        self._has = has
        self._made: dict[AccountRegion, Service] = {}

    async def at(self, place: AccountRegion) -> Mapping[str, Operation[Any]]:
        made = await self._make(place)
        self.forget(place)
        if len(self._made) >= PLACES_KEPT:
            self.forget(next(iter(self._made)))
        self._made[place] = made
        return made.operations

    def forget(self, place: AccountRegion) -> None:
        if (made := self._made.pop(place, None)) is not None:
            made.drain()

    def has(self, place: AccountRegion) -> bool:
        return self._has(place)

    def drain(self) -> None:
        for service in self._made.values():
            service.drain()
