"""hanabi invoke: run a function and print what it returns"""

import argparse
import base64
import json
import sys
from pathlib import Path

from hanabi.cli.failure import Failure
from hanabi.cli.server import INVOKE_TIMEOUT_S, find_server
from hanabi.cli.table import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="function name or ARN")
    payload = parser.add_mutually_exclusive_group()
    payload.add_argument("-p", "--payload", metavar="JSON", help="the event")
    payload.add_argument("-f", "--file", metavar="FILE", help="a file with the event; - is standard input")
    parser.add_argument("--async", dest="event", action="store_true", help="queue the event and return; the function runs later")
    parser.add_argument("--qualifier", help="version or alias")
    parser.add_argument("--log", action="store_true", help="print the last 4 KB of the invocation's log to standard error")
    parser.add_argument("--json", action="store_true", help="print status, payload and log as one JSON object")


def run(options: argparse.Namespace) -> int:
    kind = "Event" if options.event else "RequestResponse"
    request = {"FunctionName": options.name, "InvocationType": kind, "Payload": _payload(options)}
    if options.qualifier:
        request["Qualifier"] = options.qualifier
    if not options.event and (options.log or options.json):
        request["LogType"] = "Tail"
    answer = find_server(options).client("lambda", read_timeout=INVOKE_TIMEOUT_S).invoke(**request)
    request_id = answer["ResponseMetadata"]["RequestId"]
    body: bytes = answer["Payload"].read()
    log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
    failed = answer.get("FunctionError")
    if options.json:
        summary = {"StatusCode": answer["StatusCode"], "RequestId": request_id, "FunctionError": failed}
        print(json.dumps(summary | {"ExecutedVersion": answer.get("ExecutedVersion"), "Payload": _parsed(body), "Log": log}))
    elif options.event:
        print(f"accepted {request_id}")
    else:
        sys.stdout.buffer.write((shown(body) if sys.stdout.isatty() else body) + b"\n")
        sys.stdout.flush()
        for line in log.splitlines():
            print(printable(line), file=sys.stderr)
    if failed and not options.json:
        print(f"hanabi invoke: the function failed ({failed})", file=sys.stderr)
    return 1 if failed else 0


def _payload(options: argparse.Namespace) -> bytes:
    if options.file:
        payload = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    else:
        payload = str(options.payload or "").encode(errors="surrogateescape")
    if payload.strip():
        _check_json(payload, options.file or "-p")
    return payload


def _check_json(payload: bytes, source: str) -> None:
    """Check that a payload is JSON and say where it is wrong, which Lambda's own error does not."""
    try:
        json.loads(payload)
    except UnicodeDecodeError:
        raise Failure(f"the event ({source}) is not UTF-8", 2) from None
    except json.JSONDecodeError as error:
        near = error.doc[max(error.pos - 20, 0) : error.pos + 20]
        hint = "; a text wants quotes of its own: -p '\"text\"'" if source == "-p" and error.pos == 0 else ""
        raise Failure(
            f"the event ({source}) is no JSON: {error.msg} at line {error.lineno}, column {error.colno}, near {near!r}{hint}", 2
        ) from None
    except RecursionError:
        raise Failure(f"the event ({source}) is nested too deeply", 2) from None


def shown(body: bytes) -> bytes:
    """Make a payload safe for a terminal: an OS-only runtime may return anything, escape sequences too."""
    return "\n".join(map(printable, body.decode(errors="replace").split("\n"))).encode()


def _parsed(body: bytes) -> object:
    """Parse the payload as JSON; as text where an OS-only runtime returned something else."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
