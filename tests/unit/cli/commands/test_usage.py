"""`hanabi usage` prints what its sums lack, and what went wrong, in words."""

import argparse
import json
from typing import Any

import pytest

from hanabi.cli.commands import usage
from hanabi.cli.failure import Failure
from hanabi.cli.server import Server

NOTES = ["the index is behind", "3 invocations were not counted"]
EMPTY = {"requests": 0, "errors": 0, "billed_ms": 0, "gb_seconds": 0.0, "cost_usd": 0.0}


def _run(monkeypatch: pytest.MonkeyPatch, status: int, body: Any) -> int:
    server = Server(1, "a", "b", "us-east-1", "0")
    monkeypatch.setattr(usage, "find_server", lambda options: server)
    monkeypatch.setattr(Server, "get_raw", lambda *_: (status, json.dumps(body).encode()))
    return usage.run(argparse.Namespace(period="day", function=None, since=None, json=False))


def test_notes_follow_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"period": "2026-11-28", "function": "hello", **EMPTY, "requests": 5}
    assert _run(monkeypatch, 200, {"rows": [row], "total": EMPTY, "lost": {}, "notes": NOTES}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"note: {note}" for note in NOTES] and "hello" in lines[1]
    _run(monkeypatch, 200, {"rows": [], "total": EMPTY, "lost": {}, "notes": NOTES})
    assert capsys.readouterr().out.splitlines() == ["nothing was used", *(f"note: {note}" for note in NOTES)]


def test_a_failure_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failure, match="the record of invocations cannot be read: disk I/O error"):
        _run(monkeypatch, 503, {"message": "the record of invocations cannot be read: disk I/O error"})
