"""hanabi deploy: create or update a function from a folder that holds its handler"""

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.server import Server, find_server
from hanabi.cli.source import Entry, detect, pack, refuse_template

ROLE = "hanabi-default"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
MAY_LOG = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
WAIT_S = 1_200.0  # a runtime root is built at its first use
POLL_S = 0.1
PATIENCE_S = 1.0  # before it is said what is waited for
UPLOAD_TIMEOUT_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="a folder with a handler")
    parser.add_argument("--name", help="function name (default: the folder's)")
    parser.add_argument("--runtime", help="such as python3.13 (default: by the folder's files)")
    parser.add_argument("--handler", help="such as app.handler (default: by the folder's files)")
    parser.add_argument("--memory", type=int, metavar="MB", help="memory, and CPU with it (default: 128)")
    parser.add_argument("--timeout", type=int, metavar="S", help="seconds an invocation may take (default: 3)")
    parser.add_argument("--env", action="append", metavar="KEY=VALUE", help="a variable; may be repeated; replaces all that were set")
    parser.add_argument("--role", metavar="ARN", help=f"role whose credentials the function gets (default: {ROLE}, made when missing)")
    parser.add_argument("--url", action="store_true", help="give the function a URL that anybody may call")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    if not options.folder.is_dir():
        refuse_template(options.folder)
        raise Failure(f"{options.folder} is no directory", 2)
    name = options.name or _name_of(options.folder)
    entry = _entry(options)
    archive = pack(options.folder)
    server = find_server(options)
    client = server.client("lambda", read_timeout=UPLOAD_TIMEOUT_S)
    configuration = _configuration(options, entry)
    try:
        client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        role = options.role or _default_role(server)
        client.create_function(FunctionName=name, Code={"ZipFile": archive}, Role=role, **configuration)
        function = _settle(client, name)
    else:
        function = _update(client, name, archive, configuration | ({"Role": options.role} if options.role else {}))
    _require_ready(function)
    url = _url(client, name) if options.url else None
    _report(options, function, url)
    return 0


def _entry(options: argparse.Namespace) -> Entry:
    if options.runtime and options.handler:
        refuse_template(options.folder)
        return Entry(options.runtime, options.handler)
    found = detect(options.folder)
    return Entry(options.runtime or found.runtime, options.handler or found.handler)


def _configuration(options: argparse.Namespace, entry: Entry) -> dict[str, Any]:
    """Only what was asked for: an update leaves the rest as it is."""
    configuration: dict[str, Any] = {"Runtime": entry.runtime, "Handler": entry.handler}
    if options.memory is not None:
        configuration["MemorySize"] = options.memory
    if options.timeout is not None:
        configuration["Timeout"] = options.timeout
    if options.env is not None:
        configuration["Environment"] = {"Variables": dict(map(_variable, options.env))}
    return configuration


def _variable(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"--env {text!r} is not KEY=VALUE", 2)
    return key, value


def _name_of(folder: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-")[:64]
    if not name:
        raise Failure(f"{folder} has no name that a function could have: give --name", 2)
    return name


def _default_role(server: Server) -> str:
    client = server.client("iam")
    try:
        role = client.get_role(RoleName=ROLE)
    except client.exceptions.NoSuchEntityException:
        role = client.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST), Description="Made by hanabi deploy")
        client.attach_role_policy(RoleName=ROLE, PolicyArn=MAY_LOG)
    return str(role["Role"]["Arn"])


def _update(client: Any, name: str, archive: bytes, wanted: dict[str, Any]) -> dict[str, Any]:
    old = _settle(client, name)
    client.update_function_code(FunctionName=name, ZipFile=archive)
    function = _settle(client, name)
    if any(old.get(key) != value for key, value in wanted.items()):
        client.update_function_configuration(FunctionName=name, **wanted)
        function = _settle(client, name)
    return function


def _settle(client: Any, name: str) -> dict[str, Any]:
    """The function once nothing is under way. What it waits for (a runtime root being built, say) is shown."""
    deadline = time.monotonic() + WAIT_S
    shown = ""
    while True:
        function: dict[str, Any] = client.get_function_configuration(FunctionName=name)
        if function.get("State") != "Pending" and function.get("LastUpdateStatus") != "InProgress":
            return function
        reason = function.get("StateReason") or function.get("LastUpdateStatusReason") or "being prepared"
        if time.monotonic() > deadline:
            raise Failure(f"{name} is not ready after {WAIT_S:.0f} s: {reason}")
        if reason != shown and time.monotonic() > deadline - WAIT_S + PATIENCE_S:
            print(f"waiting for {name}: {reason}", file=sys.stderr, flush=True)
            shown = reason
        time.sleep(POLL_S)


def _require_ready(function: dict[str, Any]) -> None:
    for key in ("State", "LastUpdateStatus"):
        if function.get(key) == "Failed":
            raise Failure(f"{function['FunctionName']} failed: {function.get(key + 'Reason') or 'no reason is known'}")


def _url(client: Any, name: str) -> str:
    """The function's URL, made when missing."""
    try:
        answer = client.create_function_url_config(FunctionName=name, AuthType="NONE")
    except client.exceptions.ResourceConflictException:
        answer = client.get_function_url_config(FunctionName=name)
    return str(answer["FunctionUrl"])


def _report(options: argparse.Namespace, function: dict[str, Any], url: str | None) -> None:
    name = function["FunctionName"]
    if options.json:
        fields = ("FunctionName", "FunctionArn", "Runtime", "Handler", "CodeSha256", "RevisionId")
        print(json.dumps({field: function.get(field) for field in fields} | {"FunctionUrl": url}))
        return
    print(f"{name} is ready: {function['Runtime']}, {function['Handler']}, {function['MemorySize']} MB, {function['Timeout']} s")
    print(f"  hanabi invoke {name} -p '{{}}' --log")
    print(f"  hanabi logs {name} -f")
    if url:
        print(f"  curl {url}")
