"""Network slots: network namespaces with an uplink, made ahead of time and used once.

A container runs in the namespace. A microVM's tap interface is in the namespace, and packets between it and
the uplink are routed. Only descriptors of this process keep a slot (no name in /run/netns, no bind mount), so it ends with the
server.
"""

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hanabi.base import linux
from hanabi.base.netlink import Netlink
from hanabi.base.threads import ThreadPool, in_new_thread
from hanabi.sandbox.host import firewall, host_ids
from hanabi.sandbox.host.host_ids import HostIds
from hanabi.sandbox.host.uplink import Uplink

INSIDE = "eth0"
PREFIX_LENGTH = 30
TAP = "tap0"  # the same in every namespace, so that a snapshot finds it
NAME_SERVER = IPv4Address("169.254.78.1")  # of a microVM: an address of the namespace before it
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


@dataclass(slots=True)
class NetworkSlot:
    """One network namespace and its sandbox number."""

    number: int
    netns: int
    udp: socket.socket | None  # port 53 inside
    tcp: socket.socket | None
    interface: str  # the host's end of the pair; "" without a way out

    @property
    def path(self) -> str:
        """The namespace's path, for other processes."""
        return f"/proc/{os.getpid()}/fd/{self.netns}"

    @property
    def hostname(self) -> str:
        """The host name: as in Lambda the address, so that resolving it needs no server."""
        return str(host_ids.inside_address(self.number)) if self.interface else "127.0.0.1"


def make_slot(number: int, prefix: str, uplink: Uplink, tap_owner: int | None = None) -> NetworkSlot:
    """Make a namespace and its uplink; some 5 ms, blocks. With `tap_owner`, a uid, it is for a microVM."""
    interface = "" if uplink.missing else f"{prefix}{number:x}"
    slot = in_new_thread(lambda: _make_inside(number, interface, uplink, tap_owner))
    try:
        if interface:
            uplink.run(lambda: _make_outside(number, interface))
    except BaseException:
        remove_slot(slot, uplink)
        raise
    return slot


def _make_outside(number: int, interface: str) -> None:
    for version, setting, value in (("ipv6", "disable_ipv6", "1"), ("ipv4", "rp_filter", "1")):
        with suppress(FileNotFoundError):
            Path(f"/proc/sys/net/{version}/conf/{interface}/{setting}").write_text(value)
    with Netlink() as link:
        link.add_address(interface, host_ids.host_address(number), PREFIX_LENGTH)
        link.raise_link(interface)
    firewall.enable_forwarding(interface)


def _make_inside(number: int, interface: str, uplink: Uplink, tap_owner: int | None) -> NetworkSlot:
    if uplink.netns >= 0:
        linux.setns(uplink.netns, linux.CLONE_NEWNET)
    host = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns = -1
    try:
        linux.unshare(linux.CLONE_NEWNET)
        netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for scope in ("all", "default"):
            with suppress(FileNotFoundError):
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        with Netlink() as link:
            link.raise_link("lo")
            with suppress(OSError):  # without it some clients are slower
                link.acknowledge_at_once()
            if tap_owner is not None:
                _make_tap(tap_owner)
                link.raise_link(TAP)
            if not interface:
                return NetworkSlot(number, netns, None, None, "")
            link.make_veth(INSIDE, interface, host)
            if tap_owner is None:
                link.add_address(INSIDE, host_ids.inside_address(number), PREFIX_LENGTH)
                link.raise_link(INSIDE)
            else:
                link.raise_link(INSIDE)
                _route(link, number)
            link.add_default_route(host_ids.host_address(number), INSIDE)
        name_server = "127.0.0.1" if tap_owner is None else str(NAME_SERVER)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((name_server, 53))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind((name_server, 53))
        tcp.listen(8)
        return NetworkSlot(number, netns, udp, tcp, interface)
    except BaseException:
        if netns >= 0:
            os.close(netns)
        raise
    finally:
        os.close(host)


def _make_tap(owner: int) -> None:
    """Make a persistent tap interface that a process of `owner` may open; it ends with its namespace."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", TAP.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        fcntl.ioctl(fd, _TUNSETOWNER, owner)
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)


def _route(link: Netlink, number: int) -> None:
    """Route packets between the machine and the host by proxy ARP: each sees the other as a direct neighbour.

    The machine has the slot's own address without translation, so the host's rules apply as for a container.
    """
    # Asking for the host's hardware address from this one would be refused: the host has no way back to it.
    link.add_address("lo", NAME_SERVER, 32, only_here=True)
    link.add_host_route(host_ids.host_address(number), INSIDE)
    link.add_host_route(host_ids.inside_address(number), TAP)
    for name in (INSIDE, TAP):
        for setting in ("conf/{}/proxy_arp", "conf/{}/forwarding"):
            Path(f"/proc/sys/net/ipv4/{setting.format(name)}").write_text("1")
        Path(f"/proc/sys/net/ipv4/neigh/{name}/proxy_delay").write_text("0")


def remove_slot(slot: NetworkSlot, uplink: Uplink) -> None:
    """Remove a slot; blocks. Idempotent."""
    for each in (slot.udp, slot.tcp):
        if each is not None:
            each.close()
    netns, slot.netns = slot.netns, -1
    if netns >= 0:
        os.close(netns)
    if slot.interface:  # gone with the namespace, but not at once
        uplink.run(lambda: _remove_link(slot.interface))


def _remove_link(name: str) -> None:
    with Netlink() as link:
        link.remove_link(name)


def make_channel(slot: NetworkSlot) -> tuple[socket.socket, socket.socket]:
    """Make a pair of connected sockets that both belong to the slot's namespace; blocks.

    A unix socket answers interface ioctls, and binds abstract names, in the namespace where it was made, wherever it is used.
    """

    def make() -> tuple[socket.socket, socket.socket]:
        linux.setns(slot.netns, linux.CLONE_NEWNET)
        return socket.socketpair()

    return in_new_thread(make)


class SlotPool:
    """A pool of slots, made ahead in the background."""

    def __init__(
        self,
        free: HostIds,
        threads: ThreadPool,
        prefix: str,
        uplink: Uplink,
        *,
        ahead: int,
        tap_owner: Callable[[int], int] | None = None,  # number -> uid: these are slots for microVMs
    ) -> None:
        self._host_ids = free
        self._threads = threads
        self._prefix = prefix
        self._uplink = uplink
        self._tap_owner = tap_owner
        self._ahead = ahead
        self._ready: list[NetworkSlot] = []
        self._refill: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self) -> NetworkSlot:
        slot = self._ready.pop() if self._ready else await self._make()
        self.refill()
        return slot

    def refill(self) -> None:
        if not self._closed and len(self._ready) < self._ahead and (self._refill is None or self._refill.done()):
            self._refill = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < self._ahead and not self._closed:
            try:
                self._ready.append(await self._make())
            except Exception:  # the next `take` tries again and raises it
                return

    async def _make(self) -> NetworkSlot:
        number = self._host_ids.take()
        owner = None if self._tap_owner is None else self._tap_owner(number)
        try:
            return await self._threads.run(
                lambda: make_slot(number, self._prefix, self._uplink, owner), undo=lambda slot: remove_slot(slot, self._uplink)
            )
        except BaseException:
            self._host_ids.give_back(number)
            raise

    async def give_back(self, slot: NetworkSlot) -> None:
        """Remove a used slot, with its connections, rules and names; it is not reused. Its processes must have ended."""
        await self._threads.run(lambda: remove_slot(slot, self._uplink))
        self._host_ids.give_back(slot.number)

    async def close(self) -> None:
        self._closed = True
        if self._refill is not None:
            await asyncio.gather(self._refill, return_exceptions=True)
        for slot in self._ready:
            await self.give_back(slot)
        self._ready.clear()
