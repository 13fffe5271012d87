"""Large zip files on their way: ahead of the call, with progress, from `deploy` and `rollback`."""

import io
import json
import random
import socket
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hanabi.cli.failure import Failure
from hanabi.cli.server import Server as Place
from hanabi.cli.terminal import Terminal
from hanabi.cli.upload import INLINE_MAX_BYTES, source_of
from tests.server import Server
from tests.system.cli.test_functions import command

LARGE_BYTES = 53 << 20  # more than Lambda takes in a call
CODE = "import os\n\ndef handler(event, context):\n    return [{number}, os.path.getsize('data.bin')]\n"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_in_a_pipe() -> None:
    pipe, screen = io.StringIO(), Screen()
    for stream in (pipe, screen):
        with Terminal(stream) as terminal:
            for done in range(0, 1001):
                terminal.count("uploading", done << 15, 1000 << 15)
    lines = pipe.getvalue().splitlines()
    assert len(lines) == 11 and lines[0].startswith("uploading, 0 %") and lines[5] == "uploading, 50 %  15.6 MB"
    assert "[####" in screen.getvalue() and "100 %" in screen.getvalue()


def test_a_server_that_breaks_off_is_no_success(tmp_path: Path) -> None:
    archive = tmp_path / "large.zip"
    archive.write_bytes(bytes(INLINE_MAX_BYTES + 1))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        server = Place(listener.getsockname()[1], "AKIAEXAMPLE", "secret", "us-east-1", "000000000000")
        with pytest.raises(Failure, match="the server broke the upload off"), Terminal(io.StringIO()) as terminal:
            source_of(server, archive, terminal)
        thread.join(10)


def test_small_ones_go_in_the_call(tmp_path: Path) -> None:
    archive = tmp_path / "small.zip"
    archive.write_bytes(b"zip")
    assert source_of(Place(1, "a", "b", "us-east-1", "0"), archive, Terminal(io.StringIO())) == {"ZipFile": b"zip"}
    with archive.open("r+b") as file:
        file.truncate(300 * 1024 * 1024 + 1)
    with pytest.raises(Failure, match="use a container image"):
        source_of(Place(1, "a", "b", "us-east-1", "0"), archive, Terminal(io.StringIO()))


def call(server: Server, name: str) -> Any:
    return json.loads(server.hanabi("invoke", name, "-p", "{}"))


def test_more_than_50_mb_and_the_way_back(hanabi_server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "heavy"
    folder.mkdir()
    (folder / "app.py").write_text(CODE.format(number=1))
    (folder / "data.bin").write_bytes(random.Random(1).randbytes(LARGE_BYTES))
    status, output, errors = command(hanabi_server, "deploy", str(folder), "--runtime", "python3.11", "--publish")
    assert status == 0, errors
    assert "uploading, 50 %" in errors and "created" in output
    assert call(hanabi_server, "heavy") == [1, LARGE_BYTES]
    staging = hanabi_server.data_dir / "staging"
    assert list(staging.iterdir()) == []

    (folder / "app.py").write_text(CODE.format(number=2))
    (folder / "data.bin").write_bytes(b"x")
    assert "updated (code)" in hanabi_server.hanabi("deploy", str(folder), "--publish")
    assert call(hanabi_server, "heavy") == [2, 1]
    status, output, errors = command(hanabi_server, "rollback", "heavy", "--to", "1")
    assert (status, output) == (0, "heavy is as version 1 was\n"), errors
    assert call(hanabi_server, "heavy") == [1, LARGE_BYTES]
    client = hanabi_server.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="S3Bucket: this Hanabi knows no S3"):
        client.update_function_code(FunctionName="heavy", S3Bucket="mine", S3Key="x")
    hanabi_server.hanabi("delete", "heavy", "--yes")
    assert list(staging.iterdir()) == []


def test_more_than_250_mb_unzipped_in_lambdas_words(hanabi_server: Server, tmp_path: Path) -> None:
    archive = tmp_path / "wide.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("app.py", CODE.format(number=1))
        for number in range(25):
            file.writestr(f"{number}.bin", bytes(10 << 20))
    status, _, errors = command(hanabi_server, "deploy", str(archive), "--runtime", "python3.11")
    assert status == 1 and "Unzipped size must be smaller than 262144000 bytes" in errors


def test_a_zip_file_is_deployed_as_it_is(hanabi_server: Server, tmp_path: Path) -> None:
    archive = tmp_path / "ready made.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("other.py", "def run(event, context): return event")
    status, _, errors = command(hanabi_server, "deploy", str(archive))
    assert status == 2 and f"{archive} holds no handler that is known by its name" in errors
    status, _, errors = command(hanabi_server, "deploy", str(archive), "--runtime", "python3.11", "--handler", "other.gone")
    assert status == 2 and f"{archive}: other.py defines no gone" in errors
    printed = hanabi_server.hanabi("deploy", str(archive), "--runtime", "python3.11", "--handler", "other.run")
    assert printed.startswith("ready-made is ready: python3.11, other.run")
    assert call(hanabi_server, "ready-made") == {}
    assert hanabi_server.hanabi("deploy", str(archive)).splitlines()[0].endswith("unchanged")
