"""Errors in Lambda's form: the JSON that a caller gets when a function fails."""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import os
import traceback
from typing import Any

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class RuntimeFailure(Exception):
    """An error that is not of the function's own making: `Runtime.*`."""

    def __init__(self, kind: str, message: str, stack: list[str] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.stack = stack or []

    def describe(self, request_id: str) -> dict[str, Any]:
        return _describe(self.message, self.kind, request_id, self.stack)


def describe_exception(exception: BaseException, request_id: str) -> dict[str, Any]:
    """What the function raised, with a stack that begins where the runtime ends."""
    frames = [(frame.filename, frame.lineno or 0, frame.name, frame.line) for frame in traceback.extract_tb(exception.__traceback__)]
    own = [index for index, frame in enumerate(frames) if frame[0].startswith(HERE + os.sep)]
    if own and own[-1] + 1 < len(frames):
        frames = frames[own[-1] + 1 :]
    return _describe(str(exception), type(exception).__name__, request_id, traceback.format_list(frames))


def _describe(message: str, kind: str, request_id: str, stack: list[str]) -> dict[str, Any]:
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": stack}
