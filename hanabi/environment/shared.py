"""The services shared by all environments of a node: clock, journal, credentials, AWS endpoint."""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import CredentialIssuer
from hanabi.contracts.journal import Journal
from hanabi.environment.log_lines import OutputThrottle


class Closable(Protocol):
    async def close(self) -> None: ...


AttachEdge = Callable[[socket.socket, str], Awaitable[Closable]]
"""(listening socket inside a sandbox, access key) -> a server that accepts there only requests signed by that key."""


@dataclass(frozen=True, slots=True)
class SharedServices:
    """The shared services, passed to each environment."""

    clock: Clock
    journal: Journal
    credentials: CredentialIssuer
    attach_edge: AttachEdge
    freeze_after_s: float = 0.010  # idle time before the freeze; 0: at once
    endpoint_url: str = ""  # which SDKs in functions call; empty: Hanabi's own endpoint, as it is inside an environment
    endpoint_variables: list[str] = field(default_factory=list)  # from which they take it: "AWS_ENDPOINT_URL_LAMBDA"
    output_throttle: OutputThrottle = field(default_factory=OutputThrottle)
