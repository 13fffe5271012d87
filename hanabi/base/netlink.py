"""A small rtnetlink client: veth pairs, addresses, routes, link removal, without starting a program."""

import os
import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address

NETLINK_ROUTE = 0
_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 1, 4, 0x100, 0x200, 0x400
_ERROR = 2
_IFF_UP = 1
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS = 1, 4, 5, 7, 8
_RTAX_QUICKACK = 15
_RT_TABLE_LOCAL, _RTPROT_KERNEL, _RTN_LOCAL = 255, 2, 2
_RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_HOST, _RTN_UNICAST = 254, 3, 0, 253, 254, 1


class Netlink:
    """A socket in the network namespace of the thread that makes it; blocking, each call waits for the kernel's answer."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.settimeout(10)

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def make_veth(self, name: str, peer: str, peer_netns: int) -> None:
        """A pair: `name` here, `peer` in another network namespace."""
        far = _link() + _attribute(_IFLA_IFNAME, peer.encode() + b"\0") + _attribute(_IFLA_NET_NS_FD, struct.pack("=I", peer_netns))
        info = _attribute(_INFO_KIND, b"veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, far))
        body = _link() + _attribute(_IFLA_IFNAME, name.encode() + b"\0") + _attribute(_IFLA_LINKINFO, info)
        self._ask(_NEWLINK, _CREATE | _EXCL, body, f"make {name}")

    def raise_link(self, name: str) -> None:
        self._ask(_NEWLINK, 0, _link(socket.if_nametoindex(name), up=True), f"raise {name}")

    def remove_link(self, name: str) -> None:
        """Remove an interface; an absent one is no error."""
        with suppress(FileNotFoundError):
            self._ask(_DELLINK, 0, _link() + _attribute(_IFLA_IFNAME, name.encode() + b"\0"), f"remove {name}")

    def add_address(self, name: str, address: IPv4Address, prefix: int, *, only_here: bool = False) -> None:
        """Add an address. `only_here`: never use it as a source outside this namespace, ARP included."""
        scope = _RT_SCOPE_HOST if only_here else _RT_SCOPE_UNIVERSE
        head = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, scope, socket.if_nametoindex(name))
        body = head + _attribute(_IFA_LOCAL, address.packed) + _attribute(_IFA_ADDRESS, address.packed)
        self._ask(_NEWADDR, _CREATE | _EXCL, body, f"give {name} the address {address}")

    def add_host_route(self, address: IPv4Address, name: str) -> None:
        """Add a route to one directly reachable address."""
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_LINK, _RTN_UNICAST, 0)
        oif = struct.pack("=I", socket.if_nametoindex(name))
        body = head + _attribute(_RTA_DST, address.packed) + _attribute(_RTA_OIF, oif)
        self._ask(_NEWROUTE, _CREATE | _EXCL, body, f"route to {address}")

    def add_default_route(self, gateway: IPv4Address, name: str) -> None:
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, _RT_SCOPE_UNIVERSE, _RTN_UNICAST, 0)
        oif = struct.pack("=I", socket.if_nametoindex(name))
        self._ask(_NEWROUTE, _CREATE | _EXCL, head + _attribute(_RTA_GATEWAY, gateway.packed) + _attribute(_RTA_OIF, oif), "default route")

    def acknowledge_at_once(self) -> None:
        """Let connections over loopback, which is up, acknowledge at once what they receive.

        Else a client that writes the head and the body of a request apart may wait 40 ms between them (Nagle's algorithm).
        """
        head = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, _RT_TABLE_LOCAL, _RTPROT_KERNEL, _RT_SCOPE_HOST, _RTN_LOCAL, 0)
        here = IPv4Address("127.0.0.1").packed
        oif = struct.pack("=I", socket.if_nametoindex("lo"))
        metrics = _attribute(_RTAX_QUICKACK, struct.pack("=I", 1))
        body = (
            head
            + _attribute(_RTA_DST, here)
            + _attribute(_RTA_OIF, oif)
            + _attribute(_RTA_PREFSRC, here)
            + _attribute(_RTA_METRICS, metrics)
        )
        self._ask(_NEWROUTE, _CREATE | _REPLACE, body, "acknowledge at once")

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags | _REQUEST | _ACK, 1, 0) + body)
        answer = self._socket.recv(65536)
        (answer_kind,) = struct.unpack_from("=H", answer, 4)
        (error,) = struct.unpack_from("=i", answer, 16)
        if answer_kind == _ERROR and error:
            if -error == 19:  # ENODEV
                raise FileNotFoundError(2, os.strerror(2), what)
            raise OSError(-error, os.strerror(-error), what)


def _link(index: int = 0, up: bool = False) -> bytes:
    """struct ifinfomsg"""
    flags = _IFF_UP if up else 0
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + bytes(-size % 4)


def default_route_interface() -> str | None:
    """The interface of this thread's IPv4 default route."""
    with open("/proc/thread-self/net/route") as table:
        for line in table.readlines()[1:]:
            name, destination, _, flags, *_rest = line.split()
            if destination == "00000000" and int(flags, 16) & 1:
                return name
    return None
