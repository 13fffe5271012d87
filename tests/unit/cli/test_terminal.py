"""What a command says while it works: each step once in a pipe, all that moves on a terminal."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hanabi.cli import functions
from hanabi.cli.terminal import Terminal, paint


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


class Client:
    """A function that becomes ready after some answers."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = list(reasons)

    def get_function_configuration(self, **_: Any) -> dict[str, Any]:
        if self.reasons:
            return {"State": "Pending", "StateReason": f"The function is being created: {self.reasons.pop(0)}"}
        return {"State": "Active"}


def test_in_a_pipe_a_step_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "QUIET_S", -1.0)
    monkeypatch.setattr(functions, "POLL_S", 0.0)
    steps = [f"installing packages, {second} s" for second in range(5)]
    steps += ["fetching x 10 %, 6 s", "fetching x 90 %, 9 s", "compiling 12 files, 11 s", "compiling 99 files, 12 s", "boto3 of 2 parts"]
    stream = io.StringIO()
    with Terminal(stream) as terminal:
        assert functions.wait_until_settled(Client(*steps), "f", terminal) == {"State": "Active"}
    said = [line.removeprefix("waiting for f: The function is being created: ") for line in stream.getvalue().splitlines()]
    assert said == ["installing packages", "fetching x", "compiling", "boto3 of 2 parts"]
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_time_is_seen_to_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Tty()
    with Terminal(stream) as terminal:
        for second in (1, 2):
            terminal.doing("installing packages", f", {second} s")
            terminal._status._live.refresh()
    assert "installing packages, 1 s" in stream.getvalue() and "installing packages, 2 s" in stream.getvalue()


@pytest.mark.parametrize(("variables", "live"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], live: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert paint("ok", "green", Tty()) == ("\x1b[32mok\x1b[0m" if live else "ok")
    assert paint("ok", "green", io.StringIO()) == "ok"


def test_nothing_in_a_pipe_is_coloured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for command in (["images"], ["doctor"], ["list"]):
        line = [sys.executable, "-m", "hanabi", *command, "--data-dir", str(tmp_path), "--port", "1"]
        done = subprocess.run(line, capture_output=True, timeout=60)
        assert done.stdout + done.stderr and b"\x1b" not in done.stdout + done.stderr
