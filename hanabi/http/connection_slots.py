"""The places for connections, and who gives way when they run out: strangers first, the longest unused first.

A stranger is a connection on which no signature has been verified yet. Nobody is turned away while a stranger holds a place idle, so
whoever has a key gets in, however many connections others hold open, also from the same address. What strangers have sent of heads
that are not complete is bounded over all connections in the same way.
"""

import itertools
from typing import Protocol

from hanabi.base.clock import Clock, Timer
from hanabi.base.health import Health

PROBLEM = "http-connections"
WARN_SHARE = 0.75  # of all places taken: one peer's strangers beyond their share give way to each other
CALM_S = 60.0  # without anybody having to give way: a shortage is over


class SlotHolder(Protocol):
    """A connection."""

    peer: str  # whose share of the places it counts to

    @property
    def handling(self) -> bool:
        """Whether a request is being handled."""

    @property
    def idle_since(self) -> float:
        """Grows with the time of what was last heard or said."""

    @property
    def holds_body(self) -> bool:
        """Whether a large body is on its way, from somebody who does not name a key."""

    def evict(self) -> None:
        """Go, at once."""


class ConnectionSlots:
    """`connections` may be there at a time, with `head_bytes` of incomplete heads between them."""

    def __init__(self, connections: int, head_bytes: int, clock: Clock, health: Health | None) -> None:
        self.all: set[SlotHolder] = set()
        self.head_bytes = 0
        self._most = connections
        self._most_head_bytes = head_bytes
        self._share = max(1, connections // 2)  # of one peer's strangers
        self._unauthenticated: dict[SlotHolder, None] = {}  # the longest unused first
        self._peers: dict[str, dict[SlotHolder, None]] = {}  # the same, by where they come from
        self._heads: dict[SlotHolder, int] = {}  # bytes of incomplete heads, the oldest first
        self._leaving: set[SlotHolder] = set()  # told to go, not gone yet: they hold no place
        self._calm: Timer | None = None  # runs while there is a shortage
        self._gave_way = False  # somebody did since it was set
        self._clock = clock
        self._health = health
        counts = health or Health()
        self._evicted = counts.counter("hanabi_connections_evicted_total", "Connections closed to make room for others")
        self._refused = counts.counter("hanabi_connections_refused_total", "Connections refused because all places were in use")
        if health is not None:
            health.gauge("hanabi_connections", "Client connections that are open", lambda: len(self.all))
            health.gauge("hanabi_head_bytes", "Memory of request heads that are not complete", lambda: self.head_bytes)

    @property
    def taken(self) -> int:
        return len(self.all) - len(self._leaving)

    def add(self, connection: SlotHolder) -> bool:
        """Give a new connection a place, if need be somebody else's; False when all are at work."""
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
        """A connection is gone."""
        self.all.discard(connection)
        self._leaving.discard(connection)
        self._forget(connection)

    def mark_authenticated(self, connection: SlotHolder) -> None:
        """A signature was verified on it: it is no stranger from now on."""
        self._forget(connection)

    def mark_used(self, connection: SlotHolder) -> None:
        """A stranger had an answer: others are now the longest unused."""
        for unauthenticated in (self._unauthenticated, self._peers.get(connection.peer, {})):
            if unauthenticated.pop(connection, connection) is None:
                unauthenticated[connection] = None

    def hold_head(self, connection: SlotHolder, size: int) -> None:
        """So much of a connection's next head is there (0: it is complete). Too much in all: the oldest incomplete ones go."""
        self.head_bytes += size - self._heads.pop(connection, 0)
        if size:
            self._heads[connection] = size
        while self.head_bytes > self._most_head_bytes:
            self._evict(next(iter(self._heads)))

    def drop_unauthenticated_body(self) -> bool:
        """Close the stranger's connection that has been sending a body for longest; False when there is none."""
        sending = next((stranger for stranger in self._unauthenticated if stranger.holds_body), None)
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
        """Say it once, until the shortage is over."""
        self._gave_way = True
        if self._calm is not None or self._health is None:
            return
        self._calm = self._clock.call_later(CALM_S, self._look)
        peer = max(self._peers, key=lambda name: len(self._peers[name]), default="")
        most = f", most of them from {peer}: {len(self._peers[peer])}" if peer else ""
        self._health.report(
            PROBLEM,
            f"Too many connections, or too much sent on them before a signature: {self.taken} of {self._most} places are taken, "
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
    """The longest unused one that no request of is being handled. Those before it that are at work go to the end: they are in use."""
    busy = list(itertools.takewhile(lambda stranger: stranger.handling, unauthenticated))
    for stranger in busy:
        del unauthenticated[stranger]
        unauthenticated[stranger] = None
    return None if len(busy) == len(unauthenticated) else next(iter(unauthenticated))


def group_peers(address: str) -> str:
    """Addresses that one client has at will count as one: loopback's, and an IPv6 network's."""
    if address.startswith("127.") or address == "::1":
        return "loopback"
    if ":" in address:
        return ":".join(address.split(":")[:4]) if "." not in address else address
    return address
