"""What a sandbox reaches of the network, and what it does not. "The internet" is a network namespace of the test's own."""

import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address

import pytest
import pytest_asyncio

from hanabi.base import linux
from hanabi.base.netlink import Netlink
from hanabi.base.threads import in_new_thread
from hanabi.sandbox.host import firewall, host_ids
from tests.system.sandbox.rig import Rig, unavailable

NAMED = IPv4Address("198.51.100.2")  # on the internet
PRIVATE = IPv4Address("10.213.47.2")  # a private network next to the host
OPENED = IPv4Address("10.213.48.2")  # another, opened by allow_net
PORT = 8099
RESOLVER = "127.0.0.78"


class Internet:
    """A host that this one reaches over a cable, with an address in each of the networks above."""

    def __init__(self) -> None:
        self.interface = f"ht{os.getpid():x}"
        self._netns = in_new_thread(self._inside)
        with Netlink() as link:
            for far in (NAMED, PRIVATE, OPENED):
                link.add_address(self.interface, far - 1, 30)
            link.raise_link(self.interface)
        firewall.enable_forwarding(self.interface)

    def _inside(self) -> int:
        host = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        linux.unshare(linux.CLONE_NEWNET)
        with Netlink() as link:
            link.make_veth("far", self.interface, host)
            for far in (NAMED, PRIVATE, OPENED):
                link.add_address("far", far, 30)
            link.raise_link("far")
        os.close(host)
        self._server = socket.create_server(("0.0.0.0", PORT))
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def peer(self) -> str:
        """Who connected last, as seen from out there."""
        self._server.settimeout(5)
        connection, (address, _) = self._server.accept()
        connection.close()
        return str(address)

    def close(self) -> None:
        self._server.close()
        os.close(self._netns)
        with Netlink() as link:
            link.remove_link(self.interface)


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    if reason := unavailable():
        pytest.skip(reason)
    made = Internet()
    yield made
    made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(internet: Internet) -> AsyncIterator[Rig]:
    async with Rig(allow_net=[f"{OPENED}/32"], resolvers=[RESOLVER]) as made:
        yield made


@pytest.fixture(autouse=True)
def outbound(rig: Rig) -> None:
    if "no outbound network" in rig.driver.describe():
        pytest.skip(rig.driver.describe())


async def test_the_internet_is_reached_under_the_hosts_address(rig: Rig, internet: Internet) -> None:
    async with rig.sandbox() as guest:
        assert await guest.probe("reach", str(NAMED), str(PORT)) == "ok 0"
    assert internet.peer() == str(NAMED - 1)


async def test_private_networks_are_closed_unless_opened(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        assert await guest.probe("reach", str(PRIVATE), str(PORT)) == "ETIMEDOUT"
        assert await guest.probe("reach", str(OPENED), str(PORT)) == "ok 0"
        assert await guest.probe("reach", "169.254.169.254", "80") == "ETIMEDOUT"


async def test_a_network_is_opened_to_one_sandbox_until_its_end(rig: Rig) -> None:
    async with rig.sandbox() as one, rig.sandbox() as other:
        await one.box.reach([f"{PRIVATE}/32", "10.213.47.128/25"])
        await one.box.reach([f"{PRIVATE}/32"])
        assert await one.probe("reach", str(PRIVATE), str(PORT)) == "ok 0"
        assert await other.probe("reach", str(PRIVATE), str(PORT)) == "ETIMEDOUT"
        address = one.box.slot.hostname
        assert address in _attached(rig)
    assert address not in _attached(rig)


def _attached(rig: Rig) -> str:
    """The elements of the firewall's set."""
    command = ["nft", "list", "set", "inet", rig.driver.host.firewall.table, "attached"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


async def test_the_host_is_closed_under_all_its_addresses(rig: Rig) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        async with rig.sandbox() as guest:
            gateway = IPv4Address(guest.box.slot.hostname) - 1
            for address in (str(gateway), str(NAMED - 1), str(OPENED - 1), _own_address()):
                assert await guest.probe("reach", address, str(port)) == "ETIMEDOUT", address
            assert await guest.probe("reach", "127.0.0.1", str(port)) == "ECONNREFUSED"  # its own loopback, not the host's


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.77", 9))
        return str(probe.getsockname()[0])


async def test_neighbours_do_not_reach_each_other(rig: Rig) -> None:
    async with rig.sandbox() as one, rig.sandbox() as two:
        await one.start("serve", "8000")
        await one.said("ok")
        assert await two.probe("reach", one.box.slot.hostname, "8000") == "ETIMEDOUT"


async def test_names_are_resolved_by_the_hosts_resolver(rig: Rig) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((RESOLVER, 53))

    def answer() -> None:
        question, client = server.recvfrom(512)
        server.sendto(question[:2] + b"\x81\x80" + question[4:] + b"answer", client)

    with server:
        thread = threading.Thread(target=answer)
        thread.start()
        async with rig.sandbox() as guest:
            assert await guest.probe("ask", "127.0.0.1") == "answer 25 code 0"
        thread.join()


async def test_without_a_resolver_the_answer_is_failure(rig: Rig) -> None:
    async with rig.sandbox() as guest:
        assert await guest.probe("ask", "127.0.0.1") == "answer 12 code 2"  # SERVFAIL


async def test_slots_are_not_used_again_at_once(rig: Rig) -> None:
    used = set()
    for _ in range(3):
        async with rig.sandbox() as guest:
            used.add(guest.box.slot.number)
    assert len(used) == 3


async def test_without_network_there_is_loopback_only(internet: Internet) -> None:
    async with Rig(network=False) as rig:
        assert "no outbound network: turned off" in rig.driver.describe()
        async with rig.sandbox() as guest:
            assert await guest.probe("reach", str(NAMED), str(PORT)) == "ENETUNREACH"
            assert await guest.probe("ask", "127.0.0.1") == "ECONNREFUSED"
            assert guest.box.slot.hostname == "127.0.0.1"


def test_numbers_map_to_distinct_addresses() -> None:
    last = host_ids.BLOCKS * host_ids.BLOCK - 1
    assert host_ids.inside_address(last) in host_ids.NETWORK and host_ids.uid_base(last) + 65535 < 1 << 31
    assert host_ids.host_address(1) == host_ids.host_address(0) + 4
