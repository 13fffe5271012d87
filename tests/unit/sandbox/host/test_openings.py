"""How nft is asked for elements of the firewall's set. That they work is in tests/system/sandbox/test_network.py."""

import subprocess
from typing import Any

import pytest

from hanabi.sandbox.host import openings
from hanabi.sandbox.host.openings import Openings
from hanabi.sandbox.host.uplink import Uplink


class Nft:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error = ""
        self.hangs = False

    def run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        self.asked.append(command[1])
        if self.hangs:
            raise subprocess.TimeoutExpired(command, 1)
        return subprocess.CompletedProcess(command, 1 if self.error else 0, "", self.error)


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> Nft:
    made = Nft()
    monkeypatch.setattr(openings, "find_nft", lambda: "/usr/sbin/nft")
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


def test_pairs_are_added_and_removed_in_one_command_each(nft: Nft) -> None:
    set_of = Openings("table", Uplink())
    pairs = [("100.127.0.2", "10.0.0.0/16"), ("100.127.0.2", "10.9.0.0/16")]
    set_of.open(pairs)
    set_of.open([])
    set_of.close(pairs)
    elements = "element inet table attached { 100.127.0.2 . 10.0.0.0/16, 100.127.0.2 . 10.9.0.0/16 }"
    assert nft.asked == [f"add {elements}", f"delete {elements}"]


def test_what_cannot_be_opened_is_an_error_and_what_cannot_be_closed_is_gone(nft: Nft, monkeypatch: pytest.MonkeyPatch) -> None:
    set_of, pairs = Openings("table", Uplink()), [("100.127.0.2", "10.0.0.0/16")]
    nft.error = "Error: No such file\nmore"
    with pytest.raises(OSError, match="nft: Error: No such file$"):
        set_of.open(pairs)
    set_of.close(pairs)
    nft.hangs = True
    with pytest.raises(OSError, match="has not ended"):
        set_of.open(pairs)
    monkeypatch.setattr(openings, "find_nft", lambda: None)
    with pytest.raises(OSError, match="no nft command"):
        set_of.open(pairs)
