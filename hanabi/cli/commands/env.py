"""hanabi env: print the variables that point AWS tools at this Hanabi, for `eval "$(hanabi env)"`"""

import argparse
import json
import shlex
import sys

from hanabi.cli.failure import not_running
from hanabi.cli.server import Server, find_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    server = find_server(options)
    _compare(server, options)
    variables = {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_DEFAULT_REGION": server.region,
    }
    if options.json:
        print(json.dumps(variables))
        return 0
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _compare(server: Server, options: argparse.Namespace) -> None:
    """Refuse keys that the server would reject. Without an answer they are printed anyway: it may start later."""
    try:
        server.check_key()
    except OSError:
        print(f"hanabi env: {not_running(options)}", file=sys.stderr)
