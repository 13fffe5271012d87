"""`hanabi ps` of the owner and of other accounts."""

import argparse
from typing import Any

import pytest

from hanabi.cli.commands import ps
from hanabi.cli.server import Server

ROW = {
    "id": "e1", "function": "f", "account": "000000000000", "region": "us-east-1", "version": "1", "runtime": "python3.13",
    "type": "on-demand", "state": "idle", "memory_mb": 20, "age_s": 1.0, "idle_s": 1.0, "invocations": 3,
}  # fmt: skip
PROVISIONED = {
    "function": "p", "account": "111122223333", "region": "us-east-1", "version": "1", "requested": 2, "allocated": 1, "failure": None,
    "invocations": 0, "spillover": 0,
}  # fmt: skip


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: dict[str, Any]) -> str:
    monkeypatch.setattr(ps, "find_server", lambda options: Server(1, "a", "b", "us-east-1", "000000000000"))
    monkeypatch.setattr(Server, "get", lambda *_: answer)
    assert ps.run(argparse.Namespace(json=False)) == 0
    return capsys.readouterr().out


def test_functions_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    events = {"backlog": 0, "running": 0, "waiting": 0, "done": 0, "retried": 0, "dropped": 0, "oldest_s": 0.0, "unwritten": 0}
    budget = {"environments": 1, "max_environments": 2, "memory_mb": 3, "max_memory_mb": 4, "memory_is_scarce": False}
    rows = [ROW, ROW | {"id": "e2", "region": "eu-west-1"}, ROW | {"id": "e3", "function": None, "account": None, "region": None}]
    out = shown(monkeypatch, capsys, {"environments": rows, "provisioned": [PROVISIONED], "events": events, "budget": budget})
    assert [line.split()[1] for line in out.splitlines()[1:4]] == ["f", "000000000000:eu-west-1:f", "-"]
    assert "111122223333:us-east-1:p:1: 1 of 2 provisioned" in out and "1 of 2 environments" in out


def test_what_is_the_nodes_is_not_shown_to_other_accounts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(monkeypatch, capsys, {"environments": [], "provisioned": []})
    assert out == "no environments: none is started before a function is invoked\n"
