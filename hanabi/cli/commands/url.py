"""hanabi url: give a function a URL, show it, or take it away"""

import argparse
import json

from hanabi.cli.failure import Failure
from hanabi.cli.functions import make_url, require
from hanabi.cli.server import find_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name")
    parser.add_argument("--alias", metavar="NAME", help="of this alias (default: of what is deployed)")
    parser.add_argument(
        "--auth", choices=("NONE", "AWS_IAM"), help="who may call it: anybody, or who signs (default: as it is, NONE for a new one)"
    )
    parser.add_argument("--delete", action="store_true", help="take it away")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    server = find_server(options)
    client = server.client("lambda")
    require(client, options.name)
    where = {"FunctionName": options.name, **({"Qualifier": options.alias} if options.alias else {})}
    if options.delete:
        try:
            client.delete_function_url_config(**where)
        except client.exceptions.ResourceNotFoundException:
            raise Failure(f"{options.name} has no such URL") from None
        print(f"the URL of {options.name} is gone")
        return 0
    found = make_url(client, options.name, options.alias, options.auth)
    named = next((each["name"] for each in server.get("/_hanabi/urls", {})["urls"] if each["url"] == found["FunctionUrl"]), None)
    if options.json:
        print(json.dumps({key: found.get(key) for key in ("FunctionUrl", "AuthType", "FunctionArn")} | {"Name": named}))
        return 0
    print(found["FunctionUrl"] if found["AuthType"] == "NONE" else f"{found['FunctionUrl']} (signed requests only)")
    if named not in (None, found["FunctionUrl"]):
        print(f"in browsers and curl also {named}")
    return 0
