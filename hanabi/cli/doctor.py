"""hanabi doctor: say which defences are active on this host, and how to mend what is missing"""

import argparse
import json
from dataclasses import asdict

from hanabi.cli.failure import not_running
from hanabi.cli.server import fetch, port_of

_MARKS = {True: "ok  ", False: "FAIL", None: "-   "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(options: argparse.Namespace) -> int:
    """Exit status 1 when something is to be mended. A server that does not run is no such thing."""
    from hanabi.sandbox.doctor import Check, probe

    checks = [*probe(), Check("server", *_ask_server(options))]
    if options.json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{_MARKS[check.ok]} {check.name:<{width}}  {check.detail}")
            if check.fix and not check.ok:
                print(f"{'':<{width + 6}}-> {check.fix}")
    return 1 if any(check.ok is False for check in checks) else 0


def _ask_server(options: argparse.Namespace) -> tuple[bool | None, str, str]:
    """(ok, detail, fix)"""
    port = port_of(options)
    try:
        status, _ = fetch(port, "/_hanabi/health", {})
    except OSError:
        return None, "not running", not_running(options)
    return (True, f"healthy on port {port}", "") if status == 200 else (False, f"port {port} answers {status}", "see what it logged")
