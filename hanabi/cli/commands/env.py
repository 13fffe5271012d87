"""hanabi env: print the variables that point AWS tools at this Hanabi, for `eval "$(hanabi env)"`"""

import argparse
import json
import shlex
import sys
from dataclasses import replace

from hanabi.cli.failure import Failure, not_running
from hanabi.cli.server import Server, find_server, key_of_account
from hanabi.node.config import SettingsError, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", metavar="ID", help="with a key of this account (default: the owner's key)")
    parser.add_argument("--region", help="of AWS's regions (default: the server's)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    try:
        load_settings({"region": options.region})
    except SettingsError as error:
        raise Failure(str(error), 2) from None
    server = find_server(options, owner=True)
    if options.account is not None:
        server = key_of_account(options, options.account)
    if options.region is not None:
        server = replace(server, region=options.region)
    _compare(server, options)
    variables = {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",  # else clients put "stream-" before the host of StartLiveTail
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
