"""A streamed answer through the agent of a microVM: no more is taken than the host reads, and its log is not kept back for it."""

import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.guest.agent.rig import PATIENCE_S
from tests.unit.guest.agent.test_relay import Guest

PIECES, PIECE_BYTES = 400, 65536


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(f"{tmp_path}/v")
    yield guest
    guest.close()


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        assert part
        data += part
    return data


def test_pieces_wait_for_the_host_and_come_whole(guest: Guest) -> None:
    writes = f"for n in $(seq {PIECES}); do head -c {PIECE_BYTES} /dev/zero >&4; echo $n >&2; done; echo end >&4"
    guest.start(writes)
    guest.log.setblocking(False)
    made, before = b"", b"x"
    while made != before:  # until it stands still
        before = made
        time.sleep(0.3)
        while select.select([guest.log], [], [], 0)[0]:
            made += guest.log.recv(65536)
    assert len(made.split()) < 40
    for _ in range(PIECES):
        assert read(guest.runtime, PIECE_BYTES).count(0) == PIECE_BYTES
        while select.select([guest.log], [], [], 0)[0]:
            made += guest.log.recv(65536)
    assert read(guest.runtime, 4) == b"end\n"
    assert guest.receive(10)[4:5] == b"P"
    length, kind = struct.unpack("<IB", guest.receive(5))
    guest.receive(length - 1)
    assert kind == ord("X")
    deadline = time.monotonic() + PATIENCE_S
    while len(made.split()) < PIECES and time.monotonic() < deadline:
        select.select([guest.log], [], [], 0.1)
        if select.select([guest.log], [], [], 0)[0]:
            made += guest.log.recv(65536)
    assert [int(each) for each in made.split()] == list(range(1, PIECES + 1))
