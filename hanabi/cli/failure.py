"""Failures of commands: one line with what went wrong and what to do."""

import argparse
import errno
import os
import re
import sqlite3

from hanabi.cli.server_file import data_dir_of, running_port
from hanabi.errors import HanabiError
from hanabi.node.config import DEFAULT_PORT

_END = r"; Value '|$"  # of what is wrong with one value; within a pattern there are brackets, commas and semicolons of its own
_LIST = re.compile(rf"\[(Member must.*?)\](?={_END})", re.DOTALL)
_PATTERN = re.compile(rf"Member must satisfy regular expression pattern: .*?(?=, Member must|{_END})", re.DOTALL)


class Failure(Exception):
    """A failed command. `status`: 1 failed, 2 invalid usage."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def explain(error: Exception, options: argparse.Namespace) -> Failure | None:
    """Map an exception to a failure that the user can act on; None for an internal error."""
    if isinstance(error, HanabiError):
        return Failure(str(error))
    if isinstance(error, ConnectionRefusedError):
        return Failure(not_running(options))
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return Failure(f"port {_port(options)} is in use; name another --port")
    if isinstance(error, OSError):
        return Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if isinstance(error, sqlite3.Error):
        return Failure(f"the state cannot be opened or written: {error}")
    name = type(error).__name__
    if type(error).__module__.partition(".")[0] != "botocore":
        return None
    if name == "EndpointConnectionError":
        return Failure(not_running(options))
    response = getattr(error, "response", None)
    if response is None:
        return Failure(str(error))
    code, message = response["Error"].get("Code", "Error"), response["Error"].get("Message", "")
    if code in ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch"):
        return Failure(f"{code}: the key is not that server's; name its --data-dir and --port")
    return Failure(f"{code}: {_in_words(message)}" if message else code)


def _in_words(message: str) -> str:
    """Return AWS's text without its unreadable regular expressions."""
    message = _LIST.sub(r"\1", message)
    message = _PATTERN.sub("it has a character or a form that is not allowed", message)
    return message.replace("Map keys must satisfy constraint: ", "names: ").replace("Map values must satisfy constraint: ", "values: ")


def not_running(options: argparse.Namespace) -> str:
    return f"no Hanabi answers on port {_port(options)}; start one with `hanabi up`, or name its --port"


def _port(options: argparse.Namespace) -> object:
    return getattr(options, "port", None) or os.environ.get("HANABI_PORT") or running_port(data_dir_of(options)) or DEFAULT_PORT
