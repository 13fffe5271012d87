"""Network slots: each a network namespace of its own with a way out, made before it is needed, used once, thrown away.

A slot lives by descriptors of this process alone (no name in /run/netns, no bind mount), so it dies with the server.
"""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hanabi.sandbox import firewall, kernel, numbers
from hanabi.sandbox.netlink import Netlink
from hanabi.sandbox.numbers import Numbers
from hanabi.sandbox.threads import Threads
from hanabi.sandbox.uplink import Uplink, in_new_thread

INSIDE = "eth0"
PREFIX_LENGTH = 30


@dataclass(slots=True)
class Slot:
    """One network namespace, and the number that goes with it."""

    number: int
    netns: int
    udp: socket.socket | None  # port 53 inside
    tcp: socket.socket | None
    interface: str  # the host's end of the pair; "" without a way out

    @property
    def path(self) -> str:
        """Names the namespace for other processes."""
        return f"/proc/{os.getpid()}/fd/{self.netns}"

    @property
    def hostname(self) -> str:
        """As in Lambda the host name is the address, so that looking it up needs no server."""
        return str(numbers.inside_address(self.number)) if self.interface else "127.0.0.1"


def make_slot(number: int, prefix: str, uplink: Uplink) -> Slot:
    """Make a namespace and its way out; some 5 ms, blocks."""
    interface = "" if uplink.missing else f"{prefix}{number:x}"
    slot = in_new_thread(lambda: _make_inside(number, interface, uplink))
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
        link.add_address(interface, numbers.host_address(number), PREFIX_LENGTH)
        link.raise_link(interface)
    firewall.enable_forwarding(interface)


def _make_inside(number: int, interface: str, uplink: Uplink) -> Slot:
    if uplink.netns >= 0:
        kernel.setns(uplink.netns, kernel.CLONE_NEWNET)
    host = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    netns = -1
    try:
        kernel.unshare(kernel.CLONE_NEWNET)
        netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for scope in ("all", "default"):
            with suppress(FileNotFoundError):
                Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        with Netlink() as link:
            link.raise_link("lo")
            if not interface:
                return Slot(number, netns, None, None, "")
            link.make_veth(INSIDE, interface, host)
            link.add_address(INSIDE, numbers.inside_address(number), PREFIX_LENGTH)
            link.raise_link(INSIDE)
            link.add_default_route(numbers.host_address(number), INSIDE)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 53))
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.bind(("127.0.0.1", 53))
        tcp.listen(8)
        return Slot(number, netns, udp, tcp, interface)
    except BaseException:
        if netns >= 0:
            os.close(netns)
        raise
    finally:
        os.close(host)


def remove_slot(slot: Slot, uplink: Uplink) -> None:
    """Everything of a slot goes; blocks."""
    for each in (slot.udp, slot.tcp):
        if each is not None:
            each.close()
    os.close(slot.netns)
    if slot.interface:  # gone with the namespace, but not at once
        uplink.run(lambda: _remove_link(slot.interface))


def _remove_link(name: str) -> None:
    with Netlink() as link:
        link.remove_link(name)


def make_channel(slot: Slot) -> tuple[socket.socket, socket.socket]:
    """A pair of connected sockets whose ends both belong to the slot's namespace; blocks.

    A unix socket answers questions about interfaces, and takes names, in the namespace it was made in, wherever it is used.
    """

    def make() -> tuple[socket.socket, socket.socket]:
        kernel.setns(slot.netns, kernel.CLONE_NEWNET)
        return socket.socketpair()

    return in_new_thread(make)


class SlotPool:
    """Slots made ahead, in the background."""

    def __init__(self, free: Numbers, threads: Threads, prefix: str, uplink: Uplink, *, ahead: int) -> None:
        self._numbers = free
        self._threads = threads
        self._prefix = prefix
        self._uplink = uplink
        self._ahead = ahead
        self._ready: list[Slot] = []
        self._refill: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self) -> Slot:
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
            except Exception:  # whoever takes next tries again and is told why
                return

    async def _make(self) -> Slot:
        number = self._numbers.take()
        try:
            return await self._threads.run(
                lambda: make_slot(number, self._prefix, self._uplink), undo=lambda slot: remove_slot(slot, self._uplink)
            )
        except BaseException:
            self._numbers.give_back(number)
            raise

    async def give_back(self, slot: Slot) -> None:
        """A used slot is not used again: its connections, rules and names go with it. Its processes must have gone before."""
        await self._threads.run(lambda: remove_slot(slot, self._uplink))
        self._numbers.give_back(slot.number)

    async def close(self) -> None:
        self._closed = True
        if self._refill is not None:
            await asyncio.gather(self._refill, return_exceptions=True)
        for slot in self._ready:
            await self.give_back(slot)
        self._ready.clear()
