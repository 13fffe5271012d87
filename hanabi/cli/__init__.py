"""The command `hanabi`: its arguments, and how every command ends."""

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Protocol

from hanabi import __version__
from hanabi.cli.commands import (
    alias,
    delete,
    deploy,
    doctor,
    env,
    images,
    init,
    invoke,
    keys,
    layers,
    listing,
    logs,
    ps,
    rollback,
    signing_profiles,
    up,
    url,
    usage,
    versions,
)
from hanabi.cli.failure import Failure, explain
from hanabi.cli.terminal import paint
from hanabi.node.config import DEFAULT_PORT

__all__ = ["main"]


class Command(Protocol):
    """A module of this package: its docstring is `hanabi NAME: what it does`."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, options: argparse.Namespace) -> int: ...


COMMANDS: dict[str, Command] = {
    "up": up,
    "env": env,
    "init": init,
    "deploy": deploy,
    "invoke": invoke,
    "logs": logs,
    "list": listing,
    "versions": versions,
    "alias": alias,
    "rollback": rollback,
    "url": url,
    "delete": delete,
    "layers": layers,
    "signing-profiles": signing_profiles,
    "keys": keys,
    "ps": ps,
    "usage": usage,
    "doctor": doctor,
    "images": images,
}
INTERRUPTED = 130  # what a shell reports of a command that ended by SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status. Errors are one line on stderr, never a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files that are not UTF-8 leave as they came
    options = make_parser().parse_args(arguments)
    try:
        status = COMMANDS[options.command].run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `hanabi logs | head`: nobody listens any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        failure = error if isinstance(error, Failure) else explain(error, options)
        if failure is None:
            if os.environ.get("HANABI_DEBUG"):
                raise
            failure = Failure(f"a defect of Hanabi: {type(error).__name__}: {error} (HANABI_DEBUG=1 shows where)")
        who = paint(f"hanabi {options.command}:", "red", sys.stderr)
        print(f"{who} {' '.join(str(failure).split())}", file=sys.stderr)
        return failure.status


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hanabi", description="AWS Lambda on your own machines.")
    parser.add_argument("--version", action="version", version=f"hanabi {__version__}")
    _add_common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0].partition(": ")[2]
        command = commands.add_parser(name, help=summary, description=summary)
        _add_common(command)
        module.add_arguments(command)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add options that work before or after the command's name. Suppressed defaults keep one place from resetting the other."""
    suppressed = argparse.SUPPRESS
    parser.add_argument("--data-dir", metavar="DIR", default=suppressed, help="where state lives (default: /var/lib/hanabi for root)")
    parser.add_argument("--port", default=suppressed, help=f"port of the endpoint (default: the running server's, else {DEFAULT_PORT})")
