"""hanabi logs: print what a function logged"""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.server import find_server
from hanabi.cli.table import printable
from hanabi.cli.times import parse_time

POLL_S = 1.0
OVERLAP_MS = 5_000  # looked at again by each poll: events of other streams may arrive out of order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name or ARN")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is logged")
    parser.add_argument("--since", metavar="TIME", default="10m", help="from a time on: 1h, 2d or 2026-11-24T10:00:00 (default: 10m)")
    parser.add_argument("--filter", metavar="PATTERN", default="", help="only what a filter pattern of CloudWatch Logs matches: ERROR")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(options: argparse.Namespace) -> int:
    start_ms = int(parse_time(options.since) * 1000)
    server = find_server(options)
    client = server.client("logs")
    group = _log_group(server.client("lambda"), client, options.name)
    seen: dict[str, int] = {}  # event id -> time, of those that the next poll meets again
    while True:
        for event in _events(client, group, start_ms, options.filter):
            if event["eventId"] not in seen:
                seen[event["eventId"]] = event["timestamp"]
                print(_format(event, options.json), flush=options.follow)
        if not options.follow:
            return 0
        start_ms = max(start_ms, max(seen.values(), default=0) - OVERLAP_MS)
        seen = {id: at for id, at in seen.items() if at >= start_ms}
        time.sleep(POLL_S)


def _events(client: Any, group: str, start_ms: int, pattern: str) -> Iterator[dict[str, Any]]:
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=start_ms, filterPattern=pattern)
    try:
        for page in pages:
            yield from page["events"]
    except client.exceptions.ResourceNotFoundException:
        return  # not made yet: the function has never run
    except client.exceptions.InvalidParameterException as error:
        raise Failure(str(error.response["Error"]["Message"])) from None


def _log_group(functions: Any, logs: Any, name: str) -> str:
    """Return a function's log group. Logs of a deleted function are kept."""
    bare = name.split(":function:")[-1].partition(":")[0]
    try:
        settings = functions.get_function_configuration(FunctionName=name).get("LoggingConfig", {})
        return str(settings.get("LogGroup") or f"/aws/lambda/{bare}")
    except functions.exceptions.ResourceNotFoundException as error:
        group = f"/aws/lambda/{bare}"
        known = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if group in [each["logGroupName"] for each in known]:
            return group
        raise Failure(str(error.response["Error"]["Message"])) from None


def _format(event: dict[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps({name: event[name] for name in ("timestamp", "logStreamName", "message", "eventId")})
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return "\n".join(f"{moment} {printable(line)}" for line in event["message"].removesuffix("\n").split("\n"))
