"""hanabi keys: list keys of accounts, make one of another account, delete one"""

import argparse
import json
from datetime import UTC, datetime
from io import BytesIO

from hanabi.cli.failure import Failure
from hanabi.cli.server import answered, find_server
from hanabi.cli.table import render

ACTIONS = ("list", "create", "delete")
HEADER = ("ACCESS KEY", "ACCOUNT", "CREATED")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list")
    parser.add_argument("key", nargs="?", metavar="KEY", help="to delete: the access key")
    parser.add_argument("--account", metavar="ID", help="to create: the account that it belongs to, 12 digits; to list: only those of it")
    parser.add_argument("--json", action="store_true", help="print JSON: an array of what is listed, or the key that was made")


def run(options: argparse.Namespace) -> int:
    if (options.action == "delete") != bool(options.key):
        raise Failure("which? The access key" if options.action == "delete" else f"{options.key}: there is no such argument", 2)
    if options.action == "create" and options.account is None:
        raise Failure("of which account? --account ID", 2)
    server = find_server(options, owner=True)
    if options.action == "list":
        keys = [key for key in server.get("/_hanabi/keys", {})["keys"] if options.account in (None, key["account"])]
        rows = [(key["access_key"], key["account"], _describe(key["created"])) for key in keys]
        print(json.dumps(keys) if options.json else render(HEADER, rows))
    elif options.action == "create":
        made = answered(*server.send("POST", "/_hanabi/keys", BytesIO(json.dumps({"account": options.account}).encode())))
        if options.json:
            print(json.dumps(made))
        else:
            print(f'{made["access_key"]} is a key of {made["account"]}; eval "$(hanabi env --account {made["account"]})" uses it')
    else:
        answered(*server.send("DELETE", "/_hanabi/keys", BytesIO(json.dumps({"access_key": options.key}).encode())))
        print(f"{options.key} is no key any more")
    return 0


def _describe(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(" ", "seconds") if created else "-"
