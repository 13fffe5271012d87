"""Checks of an Invoke payload, before a function gets it."""

import json
import re
from collections.abc import Callable
from typing import Any

from hanabi.edge.large_json import JsonWorkers
from hanabi.errors import InvalidRequestContent, RequestTooLarge
from hanabi.http.json_size import has_too_many_values
from hanabi.quotas import EVENT_PAYLOAD_BYTES, INVOKE_PAYLOAD_BYTES

INLINE_BYTES = 256 * 1024  # more is parsed in a worker, as is what has very many values

_SOURCE = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {line}, column: {column}]"
_VALUES = "JSON String, Number, Array, Object or token 'null', 'true' or 'false'"


def payload_limit(invocation_type: str) -> int:
    return EVENT_PAYLOAD_BYTES if invocation_type == "Event" else INVOKE_PAYLOAD_BYTES


def check_size(size: int, invocation_type: str) -> None:
    """Raise `RequestTooLarge` for a payload beyond its invocation type's limit."""
    if size > payload_limit(invocation_type):
        raise describe_too_large(size, invocation_type)


def describe_too_large(size: int, invocation_type: str) -> RequestTooLarge:
    kind, limit = invocation_type or "RequestResponse", payload_limit(invocation_type)
    return RequestTooLarge(f"{size} byte payload is too large for the {kind} invocation type (limit {limit} bytes)")


async def check_payload(payload: bytes, invocation_type: str, workers: JsonWorkers) -> None:
    """Raise Lambda's error for a payload that is too large or not JSON. An empty one is valid."""
    check_size(len(payload), invocation_type)
    if len(payload) <= INLINE_BYTES and not has_too_many_values(payload):
        check_json(payload)
    elif (problem := await workers.check(payload)) is not None:
        raise _not_json(problem)


def check_json(payload: bytes) -> None:
    """Raise `InvalidRequestContent` if a small payload is neither empty nor JSON."""
    if not payload:
        return
    try:
        text = payload.decode()
        if text[0] in '{["' and _scan(text, 0)[1] == len(text):
            return
    except (StopIteration, ValueError, RecursionError):
        pass  # the decoder that is made anew says what it is
    try:
        text = payload.decode()
        json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _not_json(_describe_bytes(payload, error)) from None
    except json.JSONDecodeError as error:
        raise _not_json(_describe_text(text, error)) from None
    except (ValueError, RecursionError) as error:
        raise _not_json(str(error)) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"Non-standard token '{name}': enable `JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS` to allow")


# One value from an index on: (the value, where it ends). `json.loads` makes a decoder each time.
_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder(parse_constant=_refuse_constant))["scan_once"]


def _not_json(problem: str) -> InvalidRequestContent:
    return InvalidRequestContent(f"Could not parse request body into json: Could not parse payload into json: {problem}")


def _describe_bytes(payload: bytes, error: UnicodeDecodeError) -> str:
    """Describe bytes as AWS's JSON parser does: as text only within a string."""
    before, byte = payload[: error.start], payload[error.start]
    line = before.count(b"\n") + 1
    column = error.start - (before.rfind(b"\n") + 1) + 1
    if before.count(b'"') % 2:
        return f"Invalid UTF-8 start byte 0x{byte:02x}" + _SOURCE.format(line=line, column=column + 1)
    where = _SOURCE.format(line=line, column=column)
    return f"Unexpected character ((CTRL-CHAR, code {byte})): expected a valid value ({_VALUES}){where}"


def _describe_text(text: str, error: json.JSONDecodeError) -> str:
    rest = text[error.pos :]
    if not rest:
        return "Unexpected end-of-input" + _SOURCE.format(line=error.lineno, column=error.colno)
    token = re.match(r"[A-Za-z_$][\w$]*", rest)
    if error.msg == "Expecting value" and token:
        where = _SOURCE.format(line=error.lineno, column=error.colno + len(token[0]))
        return f"Unrecognized token '{token[0][:256]}': was expecting ({_VALUES}){where}"
    where = _SOURCE.format(line=error.lineno, column=error.colno)
    wanted = {
        "Expecting property name enclosed in double quotes": "was expecting double-quote to start field name",
        "Expecting ':' delimiter": "was expecting a colon to separate field name and value",
        "Expecting ',' delimiter": "was expecting comma to separate entries",
        "Expecting value": f"expected a valid value ({_VALUES})",
    }.get(error.msg, error.msg)
    return f"Unexpected character ('{rest[0]}' (code {ord(rest[0])})): {wanted}{where}"
