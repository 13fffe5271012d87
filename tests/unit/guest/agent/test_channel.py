"""A runtime channel that no process has had: what an earlier runtime left in the old one reaches nobody."""

import asyncio
import os
import socket
import struct
import time

import pytest

from hanabi.base.clock import SystemClock
from hanabi.sandbox.agent import AgentLink
from tests.unit.guest.agent.rig import PATIENCE_S, Agent, root_only


def renew(agent: Agent) -> socket.socket:
    """The host's end of a new channel, the agent has the other."""
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(agent.control, [struct.pack("<IB", 1, ord("C"))], [theirs.fileno()])
    assert agent.receive() == ("c", b"")
    ours.settimeout(PATIENCE_S)
    return ours


def test_the_next_runtime_has_the_new_channel() -> None:
    with Agent() as agent:
        agent.hello()
        agent.run("echo old >&4")
        agent.runtime.sendall(b"unread\n")
        agent.send("K")
        assert agent.receive() == ("k", b"")
        for number in range(3):
            with renew(agent) as channel:
                channel.sendall(b"for the new one\n")
                assert agent.run("read line <&4; echo $line; echo new >&4").startswith("for the new one")
                assert channel.recv(64) == b"new\n", number
        assert agent.runtime.recv(64) == b"old\n"
        with pytest.raises(ConnectionResetError):  # nobody has its other end any more, and something was unread there
            agent.runtime.recv(64)


def test_without_a_descriptor_the_agent_ends() -> None:
    with Agent() as agent:
        agent.hello().send("C")
        with pytest.raises(EOFError):
            agent.receive()
    assert agent.process.returncode == 0


@root_only  # to others the agent's descriptors are closed
def test_descriptors_that_nobody_asked_for_do_not_pile_up() -> None:
    with Agent() as agent:
        agent.hello()
        agent.send("Q")  # when it answers it has closed its own of what it sent with hello
        assert agent.receive() == ("q", b"")
        at_first = descriptors(agent)
        with socket.socket() as sent:
            for _ in range(5):
                socket.send_fds(agent.control, [struct.pack("<IB", 1, ord("K"))], [sent.fileno()] * 2)
                assert agent.receive() == ("k", b"")
        settle(agent, at_first + 1)  # the last one may be for the message that follows
        with renew(agent):
            settle(agent, at_first)
            agent.run("true")
            agent.send("K")
            assert agent.receive() == ("k", b"")
            settle(agent, at_first)


def descriptors(agent: Agent) -> int:
    return len(os.listdir(f"/proc/{agent.process.pid}/fd"))


def settle(agent: Agent, count: int) -> None:
    """Wait until the agent has so many descriptors: it may answer before it has closed what it had open for that."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := descriptors(agent)) != count:
        assert time.monotonic() < deadline, f"{now} descriptors, not {count}"
        time.sleep(0.005)


async def test_the_link_asks_for_it() -> None:
    with Agent() as agent:
        link = AgentLink(agent.control, SystemClock())
        agent.listeners = list(await link.hello(PATIENCE_S))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            await link.renew_runtime(theirs)
            theirs.close()
            await link.start("runtime", ["/bin/sh", "-c", "echo new >&4"], {"PATH": "/usr/bin:/bin"}, "/")
            ours.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(ours, 64) == b"new\n"
        link.close()
