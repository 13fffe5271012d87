"""A function's output and logs, in Lambda's formats. A log record is one event: it goes out in a frame, or, where there is no descriptor
for frames, as one line whose inner line breaks become carriage returns."""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import io
import logging
import os
import sys
import time
from typing import Any

from hanabi_runtime.encoding import encode_text
from hanabi_runtime.json_logs import TIME_FORMAT, JsonFormatter

INDENT = "\u00a0"  # CloudWatch Logs keeps leading spaces only when they do not break
JSON_FRAME, TEXT_FRAME = 0xA55A0002, 0xA55A0003  # plus the level in bits 2 to 4: hanabi/environment/log_frames.py
LEVEL_BITS = {"DEBUG": 2 << 2, "INFO": 3 << 2, "WARNING": 4 << 2, "ERROR": 5 << 2, "CRITICAL": 6 << 2}
request_id = ""  # of the invocation under way
tenant_id: str | None = None  # likewise, of a function with tenant isolation
_frames: int | None = None  # the descriptor


class Unbuffered(io.TextIOWrapper):
    """Every write reaches the pipe at once: nothing printed is lost in a crash, and no answer overtakes it."""

    def write(self, text: str) -> int:
        try:
            super().write(text)
        except BlockingIOError as error:
            os.set_blocking(self.fileno(), True)  # a process of the function's, such as Node.js, has made our pipe its own
            self.buffer.write(text.encode(self.encoding, self.errors or "strict")[error.characters_written :])
        try:
            self.flush()
        except BlockingIOError:
            os.set_blocking(self.fileno(), True)
            self.flush()
        return len(text)


class LambdaLoggerHandler(logging.Handler):
    """The root logger's handler; libraries know it by this name."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if _frames is None:
            sys.stdout.write(text.removesuffix("\n").replace("\n", "\r") + "\n")
        else:
            write_frame(text, record.levelname)


class LambdaLoggerFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id = request_id
        record.tenant_id = tenant_id
        return True


def write_frame(text: str, level: str) -> None:
    body = text.encode(errors="backslashreplace")
    kind = (JSON_FRAME if is_json() else TEXT_FRAME) | LEVEL_BITS.get(level, 0)
    left = memoryview(kind.to_bytes(4, "big") + len(body).to_bytes(4, "big") + (time.time_ns() // 1000).to_bytes(8, "big") + body)
    while left:
        try:
            left = left[os.write(_frames or 1, left) :]
        except BlockingIOError:
            os.set_blocking(_frames or 1, True)


def unbuffer() -> None:
    """Write at once what is printed; take the descriptor for frames."""
    global _frames
    if fd := os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None):
        _frames = int(fd)
        os.set_inheritable(_frames, False)  # not for the function's child processes
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = open(stream.fileno(), "wb", closefd=False)
        setattr(sys, name, Unbuffered(raw, encoding=stream.encoding, errors=stream.errors, write_through=True))


def is_json() -> bool:
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"


def set_up() -> None:
    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler()
    if is_json():
        handler.setFormatter(JsonFormatter())
    else:
        layout = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(layout, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper().replace("TRACE", "DEBUG")
    if isinstance(logging.getLevelName(level), int):
        root.setLevel(level)


def log_error(error: dict[str, Any]) -> None:
    """`[ERROR] Type: message`, then the stack, as one line; or all of it as JSON."""
    if is_json():
        said = {"timestamp": time.strftime(TIME_FORMAT, time.gmtime()), "level": "ERROR", **error}
        _write(encode_text(said) + "\n", "ERROR")
        return
    kind, message = error["errorType"], error["errorMessage"]
    lines = [f"[ERROR] {kind}: {message}" if message else f"[ERROR] {kind}", "Traceback (most recent call last):"]
    for entry in error["stackTrace"]:
        for line in entry.splitlines():
            text = line.lstrip(" ")
            lines.append(INDENT * (len(line) - len(text)) + text)
    text = "\n".join(lines)
    _write(text if _frames is not None else text.replace("\n", "\r") + "\n", "ERROR")


def _write(line: str, level: str) -> None:
    try:
        if _frames is not None:
            return write_frame(line, level)
        sys.stdout.write(line.encode(errors="backslashreplace").decode())
    except (OSError, ValueError):
        pass  # the function has closed its stdout; its caller still gets the error
