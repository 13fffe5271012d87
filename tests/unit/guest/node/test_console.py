"""The console where logs are JSON: beside aws-lambda-ric's own form."""

import json
from pathlib import Path

import pytest

from hanabi.environment.log_frames import LogFrameReader
from tests.unit.guest.bootstrap import Guest
from tests.unit.guest.node.test_bootstrap import BOOTSTRAP, FUNCTION, NODE, start

pytestmark = pytest.mark.skipif(NODE is None, reason="no node on PATH")

SOURCE = """
exports.handler = async (event) => {
  console.log("two\\nlines %d", 5, { a: 1 });
  console.info({ deep: { k: [1] }, e: new RangeError("r") });
  console.warn("failed", new TypeError("t"));
  console.debug("low");
  const loop = {}; loop.self = loop;
  console.error(loop);
  console.log();
  process.stdout.write("raw\\n");
  if (event) throw Object.assign(new Error("broken"), { code: "E1" });
};
"""


def test_console(tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text(SOURCE)
    environment = {**FUNCTION, "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    with start(tmp_path) as guest:
        assert guest.initialize("app.handler", tmp_path, environment) == (b"r", b"")
        guest.fail(1, request_id="id-1")
        lines = guest.take_log()
    assert lines[5] == "raw"
    first, second, third, fourth, fifth, last = (json.loads(line) for line in lines if line != "raw")
    assert [*first] == ["timestamp", "level", "requestId", "message"]
    assert (first["level"], first["requestId"], first["message"]) == ("INFO", "id-1", "two\nlines 5 { a: 1 }")
    assert len(first["timestamp"]) == 24
    assert second["message"]["deep"] == {"k": [1]}
    assert (second["message"]["e"]["errorType"], second["message"]["e"]["errorMessage"]) == ("RangeError", "r")
    assert [*third] == ["timestamp", "level", "requestId", "message", "errorType", "errorMessage", "stackTrace"]
    assert third["message"].startswith("failed TypeError: t\n    at ")
    assert (third["level"], third["errorType"], third["stackTrace"][0]) == ("WARN", "TypeError", "TypeError: t")
    assert fourth["message"].startswith("<ref *1>") and fourth["level"] == "ERROR"
    assert [*fifth] == ["timestamp", "level", "requestId"]
    assert last["level"] == "ERROR"
    assert {key: last["message"][key] for key in ("errorType", "errorMessage", "code")} == {
        "errorType": "Error", "errorMessage": "broken", "code": "E1",
    }  # fmt: skip


def test_a_message_in_a_frame(tmp_path: Path) -> None:
    """As a runtime in a sandbox has it: here through its stdout."""
    (tmp_path / "app.js").write_text(SOURCE)
    environment = {"PATH": FUNCTION["PATH"], "_LAMBDA_TELEMETRY_LOG_FD": "1"}
    with Guest([NODE or "node", str(BOOTSTRAP)], environment) as guest:
        assert guest.initialize("app.handler", tmp_path, FUNCTION) == (b"r", b"")
        guest.invoke(request_id="id-1")
        rest, texts = LogFrameReader().read(guest.drain())
    texts = [text for text in texts if text]
    assert rest == b"" and texts[-1] == b"raw"
    assert texts[0].endswith(b"\tid-1\tINFO\ttwo\nlines 5 { a: 1 }")
    assert len(texts) == 7


@pytest.mark.parametrize(("level", "count"), [("WARN", 2), ("FATAL", 0)])
def test_levels(tmp_path: Path, level: str, count: int) -> None:
    (tmp_path / "app.js").write_text(SOURCE)
    environment = {**FUNCTION, "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level}
    with start(tmp_path) as guest:
        assert guest.initialize("app.handler", tmp_path, environment) == (b"r", b"")
        guest.invoke()
        assert len(guest.take_log()) == count + 1
