"""The limit on open connections, and which one is closed at the limit: unauthenticated ones first, least recently used first.

A connection is unauthenticated until a signature on it has been verified. No new connection is refused while an idle unauthenticated one
holds a slot. So a client with a key always gets in, however many connections others hold open, even from the same address.
The bytes of incomplete request heads are bounded over all connections in the same way.
"""

import itertools
from typing import Protocol

from hanabi.base.clock import Clock, Timer
from hanabi.base.health import Health

PROBLEM = "http-connections"
WARN_SHARE = 0.75  # of all slots; beyond it a peer over its share of unauthenticated connections loses its own first
CALM_S = 60.0  # a shortage is over after this long without an eviction


class SlotHolder(Protocol):
    """A connection that takes a slot."""

    peer: str  # the client whose share of the slots this counts towards

    @property
    def handling(self) -> bool:
        """Whether a request is being handled."""

    @property
    def idle_since(self) -> float:
        """A time that grows with when bytes were last received or sent."""

    @property
    def holds_body(self) -> bool:
        """Whether it is receiving a large body from a client that names no known access key."""

    def evict(self) -> None:
        """Close the connection at once."""


class ConnectionSlots:
    """At most `connections` open at a time, with at most `head_bytes` of incomplete request heads in all."""

    def __init__(self, connections: int, head_bytes: int, clock: Clock, health: Health | None) -> None:
        self.all: set[SlotHolder] = set()
        self.head_bytes = 0
        self._most = connections
        self._most_head_bytes = head_bytes
        self._share = max(1, connections // 2)  # of one peer's unauthenticated connections
        self._unauthenticated: dict[SlotHolder, None] = {}  # least recently used first
        self._peers: dict[str, dict[SlotHolder, None]] = {}  # the same, by peer
        self._heads: dict[SlotHolder, int] = {}  # bytes of incomplete heads, oldest first
        self._leaving: set[SlotHolder] = set()  # evicted, not closed yet: they hold no slot
        self._calm: Timer | None = None  # runs while there is a shortage
        self._gave_way = False  # whether one was evicted since the timer was set
        self._clock = clock
        self._health = health
        counts = health or Health()
        self._evicted = counts.counter("hanabi_connections_evicted_total", "Connections closed to make room for others")
        self._refused = counts.counter("hanabi_connections_refused_total", "Connections refused because all slots were in use")
        if health is not None:
            health.gauge("hanabi_connections", "Client connections that are open", lambda: len(self.all))
            health.gauge("hanabi_head_bytes", "Memory of incomplete request heads", lambda: self.head_bytes)

    @property
    def taken(self) -> int:
        return len(self.all) - len(self._leaving)

    def add(self, connection: SlotHolder) -> bool:
        """Give a new connection a slot, evicting another one if need be. False when all others are handling requests."""
        taken = self.taken
        if taken >= self._most * WARN_SHARE:
            peers = self._peers.get(connection.peer) if connection.peer else None
            if peers is not None and len(peers) >= self._share and (own := _idle(peers)) is not None:
                self._evict(own)
            elif taken >= self._most and not self._make_slot():
                self._refused.add()
                self._report()
                return False
        self.all.add(connection)
        self._unauthenticated[connection] = None
        self._peers.setdefault(connection.peer, {})[connection] = None
        return True

    def remove(self, connection: SlotHolder) -> None:
        """Free the slot of a closed connection."""
        self.all.discard(connection)
        self._leaving.discard(connection)
        self._forget(connection)

    def mark_authenticated(self, connection: SlotHolder) -> None:
        """Note that a signature was verified on it: it is evicted last from now on."""
        self._forget(connection)

    def mark_used(self, connection: SlotHolder) -> None:
        """Note that an unauthenticated connection had an answer: it is now the most recently used."""
        for unauthenticated in (self._unauthenticated, self._peers.get(connection.peer, {})):
            if unauthenticated.pop(connection, connection) is None:
                unauthenticated[connection] = None

    def hold_head(self, connection: SlotHolder, size: int) -> None:
        """Set how many bytes of its next head a connection holds; 0: complete. Over the total, the oldest incomplete ones are evicted."""
        self.head_bytes += size - self._heads.pop(connection, 0)
        if size:
            self._heads[connection] = size
        while self.head_bytes > self._most_head_bytes:
            self._evict(next(iter(self._heads)))

    def drop_unauthenticated_body(self) -> bool:
        """Evict the least recently used unauthenticated connection that is sending a body. False when there is none."""
        sending = next((holder for holder in self._unauthenticated if holder.holds_body), None)
        if sending is not None:
            self._evict(sending)
        return sending is not None

    def _make_slot(self) -> bool:
        victim = _idle(self._unauthenticated)
        if victim is None:
            waiting = [connection for connection in self.all - self._leaving if not connection.handling]
            victim = min(waiting, key=lambda connection: connection.idle_since, default=None)
        if victim is None:
            return False
        self._evict(victim)
        return True

    def _evict(self, connection: SlotHolder) -> None:
        self._evicted.add()
        self._report()
        self._forget(connection)
        self._leaving.add(connection)
        connection.evict()

    def _forget(self, connection: SlotHolder) -> None:
        self._unauthenticated.pop(connection, None)
        self.head_bytes -= self._heads.pop(connection, 0)
        peers = self._peers.get(connection.peer)
        if peers is not None:
            peers.pop(connection, None)
            if not peers:
                del self._peers[connection.peer]

    def _report(self) -> None:
        """Report the shortage, once until it is over."""
        self._gave_way = True
        if self._calm is not None or self._health is None:
            return
        self._calm = self._clock.call_later(CALM_S, self._look)
        peer = max(self._peers, key=lambda name: len(self._peers[name]), default="")
        most = f", most of them from {peer}: {len(self._peers[peer])}" if peer else ""
        self._health.report(
            PROBLEM,
            f"Too many connections, or too much sent on them before a signature: {self.taken} of {self._most} slots are taken, "
            f"{len(self._unauthenticated)} by clients that have not signed anything{most}. These are closed first to make room.",
        )

    def _look(self) -> None:
        self._calm = None
        if self._gave_way:
            self._gave_way = False
            self._calm = self._clock.call_later(CALM_S, self._look)
        elif self._health is not None:
            self._health.clear(PROBLEM)

    def close(self) -> None:
        if self._calm is not None:
            self._calm.cancel()
            self._calm = None


def _idle(unauthenticated: dict[SlotHolder, None]) -> SlotHolder | None:
    """Find the least recently used one without a request being handled. Busy ones before it move to the end, as they are in use."""
    busy = list(itertools.takewhile(lambda holder: holder.handling, unauthenticated))
    for holder in busy:
        del unauthenticated[holder]
        unauthenticated[holder] = None
    return None if len(busy) == len(unauthenticated) else next(iter(unauthenticated))


def group_peers(address: str) -> str:
    """Name the peer of an address: all loopback addresses are one peer, and so is each IPv6 /64 network."""
    if address.startswith("127.") or address == "::1":
        return "loopback"
    if ":" in address:
        return ":".join(address.split(":")[:4]) if "." not in address else address
    return address
