"""What the agent does with a control channel that does not speak the protocol: it ends, cleanly and soon."""

import random
import struct
import subprocess

import pytest

from tests.unit.guest.agent.rig import PATIENCE_S, Agent, build, string, strings

GOOD_START = b"\1" + string("/") + strings(["/bin/true"]) + strings(["A=b"])


@pytest.mark.parametrize(
    "message",
    [
        b"\0\0\0\0",
        struct.pack("<I", 256 * 1024 + 1) + b"S",
        b"\xff\xff\xff\xffS",
        b"\1\0\0\0?",
        b"\2\0\0\0K ",
        b"\1\0\0\0S",
        b"\2\0\0\0G\0",
        b"\3\0\0\0G\x0b\x09",
        b"\3\0\0\0G\0\0",
        b"\3\0\0\0G\0\x41",
        b"\4\0\0\0G\0\1\1",
    ],
    ids=repr,
)
def test_malformed_message(message: bytes) -> None:
    with Agent() as agent:
        agent.hello().started("/bin/sleep", "1000")
        agent.control.sendall(message)
        assert agent.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("cut", range(0, len(GOOD_START)))
def test_start_cut_short(cut: int) -> None:
    with Agent() as agent:
        agent.hello().send("S", GOOD_START[:cut])
        assert agent.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    "body",
    [
        GOOD_START + b"\0",
        b"\x0b" + GOOD_START[1:],
        GOOD_START.replace(b"n/true", b"n\0true"),
        b"\1" + struct.pack("<I", 0xFFFFFFFF) + GOOD_START,
        b"\1" + string("/") + struct.pack("<H", 0xFFFF) + b"\0" * 200_000,
    ],
    ids=["too long", "no such role", "null byte", "string too long", "list too long"],
)
def test_start_that_lies(body: bytes) -> None:
    with Agent() as agent:
        agent.hello().send("S", body)
        assert agent.process.wait(PATIENCE_S) == 0


def test_messages_in_single_bytes_and_in_one_piece() -> None:
    message = struct.pack("<IB", len(GOOD_START) + 1, ord("S")) + GOOD_START
    with Agent() as agent:
        agent.hello()
        for at in range(len(message)):
            agent.control.sendall(message[at : at + 1])
        assert [agent.receive()[0] for _ in range(2)] == ["P", "X"]
        agent.control.sendall(message + b"\1\0\0\0K" * 50)
        types = [agent.receive()[0] for _ in range(52)]
        assert types == ["P", "X"] + ["k"] * 50


def test_as_many_strings_as_a_message_can_hold() -> None:
    with Agent() as agent:
        agent.hello().send("S", b"\0" + string("/") + strings(["/bin/true"] + [""] * 65_000) + strings([]))
        assert [agent.receive()[0] for _ in range(2)] == ["P", "X"]


def test_a_host_that_does_not_read_is_answered_when_it_does() -> None:
    message = struct.pack("<IB", len(GOOD_START) + 1, ord("S")) + GOOD_START.replace(b"/bin/true", b"/bin/nope")
    with Agent() as agent:
        agent.hello().control.settimeout(0.3)
        sent = 0
        try:
            while True:  # until the agent reads no more either
                agent.control.sendall(message)
                sent += 1
        except TimeoutError:
            pass
        agent.control.settimeout(PATIENCE_S)
        for _ in range(sent):
            assert agent.receive()[0] == "F"


def test_random_bytes() -> None:
    for seed in range(40):
        noise = random.Random(seed)
        with Agent() as agent:
            agent.hello()
            try:
                for _ in range(20):
                    body = noise.randbytes(noise.choice([0, 1, 2, 7, 30, 300]))
                    if noise.random() < 0.7:  # a frame with a type that means something
                        body = struct.pack("<IB", len(body) + 1, noise.choice(b"SKGHX")) + body
                    agent.control.sendall(body)
            except OSError:
                pass
            agent.control.close()
            assert agent.process.wait(PATIENCE_S) == 0


def test_mutated_starts() -> None:
    for seed in range(40):
        noise = random.Random(seed)
        with Agent() as agent:
            agent.hello()
            try:
                for _ in range(10):
                    body = bytearray(GOOD_START)
                    for _ in range(noise.randrange(3)):
                        body[noise.randrange(len(body))] = noise.randrange(256)
                    agent.send("S", bytes(body))
            except OSError:
                pass
            agent.control.close()
            assert agent.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["--uid", "1"], ["--uid", "x", "--gid", "1"], ["--runtime-port", "65536"], ["--runtime-port"], ["--fds", "1", "2"]],
)
def test_bad_usage(arguments: list[str]) -> None:
    done = subprocess.run([build(), *arguments], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 64 and b"usage" in done.stderr


def test_channels_that_are_not_there() -> None:
    done = subprocess.run([build(), "--fds", "77", "78", "79"], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 70 and b"inherited channel" in done.stderr
