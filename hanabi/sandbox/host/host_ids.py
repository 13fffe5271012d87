"""Sandbox numbers: each stands for a unique range of uids, a network of four addresses and an interface name.

A host may run several Hanabi servers (and tests), so numbers come in blocks, claimed by a file lock that ends with the process.
Uids 1073741824..2147483647 (0x40000000 to 0x7fffffff) and addresses 100.127.0.0/16 are Hanabi's on a host.
"""

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hanabi.base.locks import try_lock
from hanabi.errors import IsolationUnavailable, SandboxError
from hanabi.sandbox.host import rootless
from hanabi.sandbox.oci.bundle_config import AGENT_UID, FUNCTION_UID, GID, UID_RANGE

UID_BASE = 1 << 30
BLOCK = 512
BLOCKS = 32
NETWORK = IPv4Network("100.127.0.0/16")
LOCKS = Path("/run/hanabi")


@dataclass(frozen=True, slots=True)
class IdMapping:
    """The id mapping of one sandbox: (inside, outside, count) entries, and the uids and gids outside of its root and its function."""

    uids: tuple[tuple[int, int, int], ...]
    gids: tuple[tuple[int, int, int], ...]
    root: tuple[int, int]
    function: tuple[int, int]


def uid_base(number: int) -> int:
    """The uid (and gid) outside of 0 inside."""
    return UID_BASE + number * UID_RANGE


def ids(number: int) -> IdMapping:
    """The ids of a sandbox: a whole range as root; three of an ordinary user's 65,536 (root, the agent, the function)."""
    if rootless.entered():
        first = 1 + 3 * number
        if first + 3 > rootless.uid_count():
            raise SandboxError("the range in /etc/subuid has no uids left for another sandbox")
        uids = ((0, first, 1), (AGENT_UID, first + 1, 1), (FUNCTION_UID, first + 2, 1))
        return IdMapping(uids, ((0, first, 1), (GID, first + 1, 1)), (first, first), (first + 2, first + 1))
    base = uid_base(number)
    mapped = ((0, base, UID_RANGE),)
    return IdMapping(mapped, mapped, (base, base), (base + FUNCTION_UID, base + GID))


def machine_uid(number: int) -> int:
    """The uid and gid of a microVM's VMM, from its sandbox's own range."""
    return uid_base(number) + AGENT_UID


def host_address(number: int) -> IPv4Address:
    """The gateway's address: the host end of the pair."""
    return NETWORK[4 * number + 1]


def inside_address(number: int) -> IPv4Address:
    return NETWORK[4 * number + 2]


class HostIds:
    """The numbers of this process. The least recently used is taken first, so that traces of an old sandbox have time to disappear."""

    def __init__(self, count: int, *, locks: Path = LOCKS) -> None:
        self._held: list[int] = []
        self._free: list[int] = []
        self.blocks: list[int] = []
        locks.mkdir(parents=True, exist_ok=True)
        for block in range(BLOCKS):
            if len(self._free) >= count:
                return
            fd = try_lock(locks / f"numbers-{block}.lock")
            if fd is None:
                continue
            self._held.append(fd)
            self.blocks.append(block)
            self._free += range(block * BLOCK, (block + 1) * BLOCK)
        if len(self._free) < count:
            self.close()
            raise IsolationUnavailable(f"no {count} free environment numbers on this host: other Hanabis hold them (locks in {locks})")

    def networks(self) -> list[IPv4Network]:
        """The addresses of the claimed blocks."""
        return [IPv4Network((int(NETWORK[0]) + 4 * BLOCK * block, 32 - (4 * BLOCK).bit_length() + 1)) for block in self.blocks]

    def take(self) -> int:
        if not self._free:
            raise SandboxError("no environment number is free")
        return self._free.pop(0)

    def give_back(self, number: int) -> None:
        self._free.append(number)

    def close(self) -> None:
        while self._held:
            os.close(self._held.pop())
