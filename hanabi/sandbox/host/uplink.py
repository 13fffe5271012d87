"""The uplink of network slots: the host's network for root; for an ordinary user a network namespace connected to it by `pasta`."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeVar

from hanabi.base import linux, netlink
from hanabi.base.processes import search_path
from hanabi.base.threads import in_new_thread
from hanabi.sandbox.host import firewall

_PASTA_TIMEOUT_S = 5.0
_PASTA = ("--config-net", "--no-map-gw", "--ipv4-only", "--netns-only", "--foreground", "--quiet")
_NO_PORTS = ("-t", "none", "-u", "none", "-T", "none", "-U", "none")
Made = TypeVar("Made")


@dataclass(slots=True)
class Uplink:
    """A network namespace with Internet access and a firewall. `missing` says why there is no access."""

    missing: str = ""
    netns: int = -1  # -1: the one we are in
    _pasta: "subprocess.Popen[bytes] | None" = None

    def run(self, work: Callable[[], Made]) -> Made:
        """Run a function in this namespace."""
        if self.netns < 0:
            return work()

        def there() -> Made:
            linux.setns(self.netns, linux.CLONE_NEWNET)
            return work()

        return in_new_thread(there)

    def close(self) -> None:
        if self._pasta is not None:
            self._pasta.kill()
            self._pasta.wait(10)
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1


def open_host(table: str, prefix: str, slots: Sequence[IPv4Network], allow: Sequence[str]) -> Uplink:
    """Open the host's network, as root."""
    uplink = Uplink()
    uplink.missing = _set_up(table, prefix, slots, allow)
    return uplink


def open_pasta(path: Path, table: str, prefix: str, slots: Sequence[IPv4Network], allow: Sequence[str]) -> Uplink:
    """Open a namespace connected by pasta. It is mounted at `path`, because pasta may not read /proc of this process."""
    program = shutil.which("pasta", path=search_path())
    if program is None:
        return Uplink("no pasta (apt install passt)")
    uplink = Uplink(netns=in_new_thread(_new_namespace))
    path.touch()
    linux.mount(f"/proc/self/fd/{uplink.netns}", str(path), "none", linux.MS_BIND)
    uplink._pasta = subprocess.Popen(
        [program, *_PASTA, *_NO_PORTS, "--netns", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for the server alone: what runs ends in its grace, with a network
    )
    give_up = time.monotonic() + _PASTA_TIMEOUT_S
    while uplink.run(netlink.default_route_interface) is None:
        if uplink._pasta.poll() is not None or time.monotonic() > give_up:
            uplink.close()
            return Uplink("pasta does not run; it needs /dev/net/tun and a default route")
        time.sleep(0.01)
    uplink.missing = uplink.run(lambda: _set_up(table, prefix, slots, allow))
    return uplink


def _new_namespace() -> int:
    linux.unshare(linux.CLONE_NEWNET)
    with netlink.Netlink() as link:
        link.raise_link("lo")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _set_up(table: str, prefix: str, slots: Sequence[IPv4Network], allow: Sequence[str]) -> str:
    """Set up NAT and rules in this thread's namespace. Returns why there is no Internet access, or an empty string."""
    interface = netlink.default_route_interface()
    if interface is None:
        return "this host has no default route"
    if reason := firewall.load(table, prefix, slots, allow):
        return reason
    try:
        firewall.enable_forwarding(interface)
    except OSError as error:
        return f"forwarding cannot be enabled on {interface}: {error.strerror}"
    return ""


def clear_away(path: Path) -> None:
    """Unmount a namespace from its path."""
    with suppress(OSError):
        linux.unmount(str(path))
    with suppress(OSError):
        path.unlink()
