"""The command without a server: arguments, the key, and how it fails."""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hanabi.cli import COMMANDS, main, make_parser
from hanabi.cli.commands.invoke import shown
from hanabi.cli.commands.up import give_to_sudo_user
from hanabi.cli.data_directory import make_directory
from hanabi.cli.failure import Failure
from hanabi.cli.table import duration, printable, render
from hanabi.cli.times import parse_time
from tests.server import free_port

SECRET = "it's a $(secret)"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    keys = {"access_key": "AKIAEXAMPLE", "secret_key": SECRET, "region": "eu-west-1", "account": "000000000000"}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    return tmp_path


def test_every_command_takes_the_place_of_the_server() -> None:
    arguments = {name: ["f"] for name in ("deploy", "init", "invoke", "logs", "versions", "alias", "rollback", "url", "delete")}
    for name in COMMANDS:
        rest = arguments.get(name, [])
        before = make_parser().parse_args(["--data-dir", "/d", "--port", "1", name, *rest])
        after = make_parser().parse_args([name, *rest, "--data-dir", "/d", "--port", "1"])
        assert vars(before) == vars(after) and before.data_dir == "/d"


def test_env_survives_a_shell(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--data-dir", str(data_dir), "--port", "1234"]) == 0
    script = f"eval {shlex.quote(capsys.readouterr().out)}; env"
    variables = dict(line.split("=", 1) for line in subprocess.check_output(["sh", "-c", script], text=True).splitlines() if "=" in line)
    assert variables["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1234"
    assert (variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]) == ("AKIAEXAMPLE", SECRET)
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert variables["AWS_DISABLE_HOST_PREFIX_INJECTION"] == "true"


def test_env_makes_no_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--data-dir", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.out == "" and "start Hanabi with `hanabi up`" in output.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["env", "list", "ps"])
def test_a_damaged_key_is_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    for content in ("", "{", "[]", "{}", '{"access_key": 1}', "[" * 100_000, '{"version": "x"}', '{"version": 7}'):
        (tmp_path / "keys.json").write_text(content)
        assert main([command, "--data-dir", str(tmp_path)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"hanabi {command}: {tmp_path}/keys.json ") and len(said.splitlines()) == 1, content
        assert ("is damaged" in said and "move it away" in said) or "has version 7" in said
        assert (tmp_path / "keys.json").read_text() == content


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke", "f"],
        ["logs", "f"],
        ["ps"],
        ["usage"],
        ["list"],
        ["delete", "f"],
        ["versions", "f"],
        ["deploy", str(Path(__file__).parents[3] / "examples" / "python")],
    ],
)
def test_no_server_says_how_to_start_one(data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main([*arguments, "--data-dir", str(data_dir), "--port", str(free_port())]) == 1
    error = capsys.readouterr().err
    assert "start one with `hanabi up`" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["up", "--host", "0.0.0.0"], "--host 0.0.0.0 is not loopback"),
        (["up", "--port", "99999"], "--port: '99999' is not a whole number from 1 to 65535"),
        (["env", "--port", "x"], "--port: 'x' is not a whole number"),
        (["logs", "f", "--since", "yesterday"], "'yesterday' is no time"),
        (["deploy", "/nonexistent"], "/nonexistent is no directory"),
    ],
)
def test_what_cannot_be_exits_with_2(data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main([*arguments, "--data-dir", str(data_dir)]) == 2
    assert message in capsys.readouterr().err


def test_one_data_directory_serves_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("4711")
        file.flush()
        assert main(["up", "--data-dir", str(tmp_path)]) == 1
    assert "is in use by another hanabi (process 4711)" in capsys.readouterr().err


def test_it_starts_fast() -> None:
    """No more than the standard library: botocore takes longer to import than all of `hanabi env` may."""
    script = (
        "import sys, hanabi.cli; print([each for each in ('botocore', 'uvloop', 'asyncio', 'hanabi.node.serve') if each in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_a_reader_that_has_gone_is_no_error(data_dir: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "hanabi", "env", "--data-dir", str(data_dir)], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30
    )
    os.close(writer)
    assert done.returncode == 0 and "Broken" not in done.stderr and "defect" not in done.stderr


def test_names_that_are_not_utf8_are_printed_as_they_came(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as under en_US.UTF-8
    made = os.fsencode(tmp_path) + b"/caf\xe9"
    done = subprocess.run([os.fsencode(sys.executable), b"-m", b"hanabi", b"init", made], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"") and b"made " + made in done.stdout


def test_doctor_works_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:  # bound, not listening: nothing answers there
        taken.bind(("127.0.0.1", 0))
        status = main(["doctor", "--json", "--port", str(taken.getsockname()[1])])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert {"kvm", "namespaces", "seccomp", "cgroups", "server"} <= checks.keys()
    assert checks["server"]["ok"] is None and checks["server"]["detail"] == "not running"
    assert status == any(check["ok"] is False for check in checks.values())
    assert all(check["fix"] for check in checks.values() if check["ok"] is False)


def test_times() -> None:
    now = time.time()
    assert abs(now - parse_time("2h") - 7200) < 5
    assert parse_time("2026-11-24T10:00:00") == parse_time("2026-11-24T11:00:00+01:00") == 1_795_514_400
    assert parse_time("9999999w") == 0
    for text in ("", "1", "h", "-1h", "1y"):
        with pytest.raises(Failure, match="is no time"):
            parse_time(text)


def test_tables() -> None:
    assert render(("A", "N"), [("x", 1), ("long", 200)], right=(1,)) == "A       N\nx       1\nlong  200"
    assert [duration(each) for each in (0, 59.9, 190, 18_120, 187_200)] == ["0s", "59s", "3m10s", "5h02m", "2d04h"]
    assert printable("a\tb\x1b[2J\r花") == "a\tb\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}花"


def test_answers_on_a_terminal() -> None:
    assert shown(b'{"a": "\x1b]0;title\x07",\n"b": "\xff"}').decode() == '{"a": "\ufffd]0;title\ufffd",\n"b": "\ufffd"}'


def test_images_are_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--data-dir", str(tmp_path)]
    assert main(["images", *place]) == 0
    assert "python3.13" in capsys.readouterr().out
    assert main(["images", "list", "nodejs22.x", "--json", *place]) == 0
    assert [row["built"] for row in json.loads(capsys.readouterr().out)] == [False]
    assert main(["images", "rm", "nodejs22.x", *place]) == 0
    assert capsys.readouterr().out == "nodejs22.x was not built\n"
    for arguments, status, message in (
        (["build", "python2.7"], 1, "no packages that Hanabi knows have python2.7. What to do: AWS no longer creates"),
        (["rm", "../.."], 2, "there is no runtime ../.."),
        (["add", "mine"], 2, "hanabi images add NAME docker://"),
        (["add", "python3.13", "docker://r.example/a"], 2, "python3.13 is the name of something else"),
        (["add", "mine", "r.example/A"], 1, "names no image"),
        (["add", "mine", "oci:nowhere"], 1, "so it is no OCI layout"),
        (["pull", "kernel"], 2, "kernel: `hanabi images pull` is for runtimes"),
        (["build", "python3.13", "--runtimes", "aws"], 2, "--runtimes is for `hanabi images list`"),
        (["list", "--runtime-substitute", "python3.12=nodejs22.x"], 1, "is not RUNTIME=RUNTIME"),
        (["list", "--insecure-registry", "r.example"], 2, "--insecure-registry is for `hanabi images add`"),
        (["remove", "mine"], 2, "there is no runtime mine, and no image was added under that name"),
        (["build"], 2, "what? One or more of"),
    ):
        assert main(["images", *arguments, *place]) == status
        assert message in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a file away")
def test_the_user_behind_sudo_gets_the_key(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, secret = data_dir / "keys.json", data_dir / "secret"
    secret.write_text("")
    monkeypatch.setenv("SUDO_UID", "4321")
    give_to_sudo_user(keys)
    assert keys.stat().st_uid == 4321 and secret.stat().st_uid == 0
    keys.unlink()
    keys.symlink_to(secret)
    give_to_sudo_user(keys)
    assert secret.stat().st_uid == 0


def test_others_may_go_through_the_data_directory(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    directory.mkdir(mode=0o700, parents=True)
    make_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o711
