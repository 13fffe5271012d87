"""hanabi delete: delete a function with all its versions, aliases and URLs"""

import argparse

from hanabi.cli.functions import aliases, confirm, published, require
from hanabi.cli.server import find_server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name")
    parser.add_argument("--version", dest="number", metavar="N", help="this published version only")
    parser.add_argument("--yes", action="store_true", help="do not ask, on a terminal")


def run(options: argparse.Namespace) -> int:
    client = find_server(options).client("lambda")
    require(client, options.name)
    if options.number:
        confirm(options, f"Delete version {options.number} of {options.name}?")
        client.delete_function(FunctionName=options.name, Qualifier=options.number)
        print(f"deleted version {options.number} of {options.name}")
        return 0
    versions, names = len(published(client, options.name)), len(aliases(client, options.name))
    confirm(options, f"Delete {options.name}, with {versions} published versions and {names} aliases?")
    client.delete_function(FunctionName=options.name)
    print(f"deleted {options.name}")
    return 0
