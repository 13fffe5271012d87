"""hanabi ps: list the execution environments that are alive"""

import argparse
import json
from typing import Any

from hanabi.cli.server import Server, find_server
from hanabi.cli.table import duration, render

HEADER = ("ENVIRONMENT", "FUNCTION", "VERSION", "RUNTIME", "TYPE", "STATE", "MEMORY", "AGE", "IDLE", "INVOCATIONS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(options: argparse.Namespace) -> int:
    server = find_server(options)
    answer = server.get("/_hanabi/environments", {})
    environments = answer["environments"]
    if options.json:
        print(json.dumps(environments))
        return 0
    if environments:
        print(render(HEADER, [_row(_named(each, server)) for each in environments], right=(6, 7, 8, 9)))
    else:
        print("no environments: none is started before a function is invoked")
    for each in answer["provisioned"]:
        print(_provisioned(_named(each, server)))
    if any(answer.get("events", {}).values()):
        print(_events(answer["events"]))
    if "budget" in answer:  # of the whole node: for its owner
        print(_summary(answer["budget"]))
    return 0


def _named(row: dict[str, Any], server: Server) -> dict[str, Any]:
    """Name the function with its account and region where these are not those that the command speaks for."""
    account, region = row.get("account"), row.get("region")
    elsewhere = row["function"] is not None and account is not None and (account, region) != (server.account, server.region)
    return row | {"function": f"{account}:{region}:{row['function']}"} if elsewhere else row


def _provisioned(version: dict[str, Any]) -> str:
    failure = f"; {version['failure']}" if version["failure"] else ""
    return (
        f"{version['function']}:{version['version']}: {version['allocated']} of {version['requested']} provisioned, "
        f"{version['invocations']} invocations, {version['spillover']} spilled over{failure}"
    )


def _events(events: dict[str, float]) -> str:
    oldest = f", the oldest {duration(events['oldest_s'])} old" if events["backlog"] else ""
    unwritten = f"; {events['unwritten']} cannot be written to disk now" if events["unwritten"] else ""
    return (
        f"{events['running']} events running, {events['waiting']} waiting{oldest}; since the start {events['done']} done, "
        f"{events['retried']} to be tried again, {events['dropped']} dropped{unwritten}"
    )


def _summary(budget: dict[str, Any]) -> str:
    scarce = "; the host is short of memory" if budget["memory_is_scarce"] else ""
    return (
        f"{budget['environments']} of {budget['max_environments']} environments, "
        f"{budget['memory_mb']} of {budget['max_memory_mb']} MB{scarce}"
    )


def _row(environment: dict[str, Any]) -> tuple[object, ...]:
    idle_s = environment["idle_s"]
    return (
        environment["id"],
        environment["function"] or "-",
        environment["version"] or "-",
        environment["runtime"],
        environment["type"] or "-",
        environment["state"],
        f"{environment['memory_mb']} MB",
        duration(environment["age_s"]),
        "-" if idle_s is None else duration(idle_s),
        environment["invocations"],
    )
