"""Log records as JSON: beside awslambdaric's own form."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hanabi.environment.log_frames import LogFrameReader
from tests.unit.guest.bootstrap import Guest

BOOTSTRAP = Path(__file__).resolve().parents[4] / "guest" / "python" / "bootstrap.py"
BASE = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
SOURCE = """
import logging
def handler(event, context):
    log = logging.getLogger("app")
    log.debug("below")
    log.info("two\\nlines %d", 5, extra={"order": [1, object], "requestId": "hidden"})
    log.log(35, {"a": 1})
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("it happened")
    print("printed")
    if event:
        raise ValueError("broken ü")
"""


def start(root: Path, level: str = "INFO") -> Guest:
    (root / "app.py").write_text(SOURCE)
    guest = Guest([sys.executable, str(BOOTSTRAP)], BASE)
    environment = {**BASE, "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level}
    assert guest.initialize("app.handler", root, environment) == (b"r", b"")
    return guest


def test_records(tmp_path: Path) -> None:
    with start(tmp_path) as guest:
        guest.invoke(request_id="id-1")
        *lines, printed = guest.take_log()
    assert printed == "printed"
    first, second, third = (json.loads(line) for line in lines)
    path = tmp_path / "app.py"
    assert [*first] == ["timestamp", "level", "message", "logger", "requestId", *([] if "taskName" not in first else ["taskName"]), "order"]
    assert (first["level"], first["message"], first["logger"], first["requestId"]) == ("INFO", "two\nlines 5", "app", "id-1")
    assert first["order"] == "[1, <class 'object'>]" or first["order"][0] == 1
    assert len(first["timestamp"]) == 20 and first["timestamp"].endswith("Z")
    assert (second["level"], second["message"]) == ("WARNING", {"a": 1})
    assert [*third][:9] == [
        "timestamp", "level", "message", "logger", "stackTrace", "errorType", "errorMessage", "requestId", "location",
    ]  # fmt: skip
    assert (third["errorType"], third["errorMessage"], third["level"]) == ("KeyError", "'k'", "ERROR")
    assert third["location"] == f"{path}:handler:11"
    assert third["stackTrace"] == [f'  File "{path}", line 9, in handler\n    raise KeyError("k")\n']


def test_records_in_frames(tmp_path: Path) -> None:
    """As a runtime in a sandbox has them: here through its stdout."""
    (tmp_path / "app.py").write_text(SOURCE)
    for format, first in (("JSON", b'{"timestamp": "'), ("Text", b"[INFO]\t")):
        with Guest([sys.executable, str(BOOTSTRAP)], {**BASE, "_LAMBDA_TELEMETRY_LOG_FD": "1"}) as guest:
            environment = {**BASE, "AWS_LAMBDA_LOG_FORMAT": format, "AWS_LAMBDA_LOG_LEVEL": "INFO"}
            assert guest.initialize("app.handler", tmp_path, environment) == (b"r", b"")
            guest.fail(1)
            rest, texts = LogFrameReader().read(guest.drain())
        texts = [text for text in texts if text]
        assert rest == b"" and len(texts) == 5
        assert texts[0].startswith(first)
        if format == "Text":
            assert texts[0].endswith(b"two\nlines 5")
            assert texts[2].count(b"\n") == 4 and texts[-1].startswith("[ERROR] ValueError: broken ü\nTraceback".encode())


@pytest.mark.parametrize(("level", "levels"), [("TRACE", 4), ("DEBUG", 4), ("WARN", 2), ("ERROR", 1), ("FATAL", 0)])
def test_levels(tmp_path: Path, level: str, levels: int) -> None:
    with start(tmp_path, level) as guest:
        guest.invoke()
        assert len(guest.take_log()) == levels + 1


def test_an_exception_is_one_line(tmp_path: Path) -> None:
    with start(tmp_path, "FATAL") as guest:
        guest.fail(1, request_id="id-2")
        said: dict[str, Any] = json.loads(guest.take_log()[-1])
    assert [*said] == ["timestamp", "level", "errorMessage", "errorType", "requestId", "stackTrace"]
    assert (said["level"], said["errorMessage"], said["errorType"], said["requestId"]) == ("ERROR", "broken ü", "ValueError", "id-2")
