"""The limits of a server: sizes, counts and times."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from hanabi.contracts.http import HttpRequest

MiB = 1 << 20


class BodyRule(NamedTuple):
    """How large a request's body may be, and how its handler gets it: whole, or as a stream when over `ALWAYS_BYTES`.

    `spool`: a body over `SPOOL_BYTES` goes to a file. `known`: it takes precedence over bodies of clients that name no known key.
    """

    limit_bytes: int
    spool: bool = False
    known: bool = False
    stream: bool = False


SPOOL_BYTES = MiB
ALWAYS_BYTES = 64 * 1024  # a body declared no larger is taken whole, without asking for a rule: every rule allows it


def allow_one_mib(request: HttpRequest) -> BodyRule:
    return BodyRule(MiB)


@dataclass(frozen=True, slots=True)
class Limits:
    head_bytes: int = MiB  # request line and headers
    unauthenticated_head_bytes: int = 0  # the same until a signature was verified on the connection; 0: no difference
    heads_bytes: int = 32 * MiB  # memory of incomplete heads, all connections together
    headers: int = 256  # trailers included
    pipelined: int = 64  # complete requests waiting on one connection
    connections: int = 1024
    buffered_bytes: int = 256 * MiB  # bodies held in memory, all connections together
    spooled_bytes: int = 4096 * MiB  # bodies held in files, likewise
    body: Callable[[HttpRequest], BodyRule] = allow_one_mib  # asked once the headers are known
    rate: float = 0.0  # requests in a second, all connections together; more are made to wait. 0: no bound
    refusal_s: float = 0.0  # delay of answers of 400 and above, so that repeated failing requests cost others nothing


@dataclass(frozen=True, slots=True)
class Timeouts:
    head_s: float = 10.0  # from a request's first byte to the end of its headers
    body_s: float = 20.0  # for each `progress_bytes` bytes of a body, in or out
    progress_bytes: int = 64 * 1024
    idle_s: float = 75.0  # between requests
    linger_s: float = 10.0  # for discarding what a refused client still sends, so that it can read the answer
