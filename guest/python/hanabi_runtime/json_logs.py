"""Log records as JSON, for functions whose LogFormat is JSON: keys, their order and their values as awslambdaric has them."""

import json
import logging
import traceback
from typing import Any

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# What is not shown as it is of a record: the rest was given as `extra`, but for `taskName`, which awslambdaric shows, too.
OWN = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created msecs relativeCreated "
    "thread threadName processName process aws_request_id tenant_id".split()
)

encode = json.JSONEncoder(ensure_ascii=False, default=str).encode


class JsonFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__(datefmt=TIME_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        level = min(50, max(0, record.levelno)) // 10 * 10
        record.levelno, record.levelname = level, logging.getLevelName(level)
        said: dict[str, Any] = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": record.levelname,
            "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info:
            kind, error, trace = record.exc_info
            said["stackTrace"] = traceback.format_tb(trace)
            said["errorType"] = None if kind is None else kind.__name__
            said["errorMessage"] = str(error)
        said["requestId"] = getattr(record, "aws_request_id", None)
        if record.exc_info:
            said["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
        said["tenantId"] = getattr(record, "tenant_id", None)
        for key, value in record.__dict__.items():
            if key not in OWN and key not in said:
                said[key] = value
        return encode({key: value for key, value in said.items() if value is not None}) + "\n"
