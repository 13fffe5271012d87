"""What commands do with functions: name, find, wait until ready, change the code, give a role or URL."""

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from hanabi.cli.failure import Failure
from hanabi.cli.server import Server
from hanabi.cli.terminal import Terminal

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
MAY_LOG = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
OPEN_TO_ALL: dict[str, dict[str, Any]] = {  # the statements that AWS's console makes for a URL of type NONE
    "FunctionURLAllowPublicAccess": {"Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
    "FunctionURLAllowInvokeAction": {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
}
WAIT_S = 1_200.0  # a runtime root is built at its first use
POLL_S = 0.1
QUIET_S = 1.0  # before it is said what is waited for
_ELAPSED = re.compile(r"( \d+ %| \d+ \w+)?, \d+ s$")  # what of a reason changes while a step goes on


def name_of(folder: Path) -> str:
    """Return the name of what is made of a folder or a zip file."""
    own = folder.resolve().stem if folder.is_file() else folder.resolve().name
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", own).strip("-")[:64]
    if not name:
        raise Failure(f"{folder} has no name that a function could have: give --name", 2)
    return name


def confirm(options: argparse.Namespace, question: str) -> None:
    """Ask on a terminal, unless `--yes` is given. Raises `Failure` for a no."""
    if options.yes or not sys.stdin.isatty():
        return
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failure("nothing was deleted")


def find(client: Any, name: str, qualifier: str | None = None) -> dict[str, Any] | None:
    """Return a function's configuration; None if the function or version does not exist."""
    try:
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name, **({"Qualifier": qualifier} if qualifier else {}))
    except client.exceptions.ResourceNotFoundException:
        return None
    return found


def require(client: Any, name: str) -> dict[str, Any]:
    found = find(client, name)
    if found is None:
        raise Failure(f"there is no function {name}; hanabi list shows those there are")
    return found


def wait_until_settled(client: Any, name: str, terminal: Terminal) -> dict[str, Any]:
    """Wait until no change of a function is under way, showing progress (building a runtime root, say); returns the function."""
    begun = time.monotonic()
    while True:
        function: dict[str, Any] = client.get_function_configuration(FunctionName=name)
        if function.get("State") != "Pending" and function.get("LastUpdateStatus") != "InProgress":
            return function
        reason = function.get("StateReason") or function.get("LastUpdateStatusReason") or "being prepared"
        waited_s = time.monotonic() - begun
        if waited_s > WAIT_S:
            raise Failure(f"{name} is not ready after {WAIT_S:.0f} s: {reason}")
        if waited_s > QUIET_S:
            step, elapsed = _ELAPSED.sub("", reason), _ELAPSED.search(reason)
            terminal.doing(f"waiting for {name}: {step}", elapsed[0] if elapsed else "")
        time.sleep(POLL_S)


def require_ready(function: dict[str, Any]) -> None:
    for key in ("State", "LastUpdateStatus"):
        if function.get(key) == "Failed":
            raise Failure(f"{function['FunctionName']} failed: {function.get(key + 'Reason') or 'no reason is known'}")


def update_code(client: Any, name: str, source: dict[str, Any], terminal: Terminal) -> dict[str, Any]:
    client.update_function_code(FunctionName=name, **source)
    return wait_until_settled(client, name, terminal)


def default_role(server: Server, name: str) -> str:
    """Return the ARN of the default role, which may write logs; create it when missing."""
    client = server.client("iam")
    try:
        role = client.get_role(RoleName=name)
    except client.exceptions.NoSuchEntityException:
        role = client.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), Description="Made by hanabi deploy")
        client.attach_role_policy(RoleName=name, PolicyArn=MAY_LOG)
    return str(role["Role"]["Arn"])


def make_url(client: Any, name: str, qualifier: str | None = None, auth: str | None = None) -> dict[str, Any]:
    """Return the function's URL; create it when missing, by default of type NONE, which anybody may call."""
    where = {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}
    try:
        url: dict[str, Any] = client.create_function_url_config(AuthType=auth or "NONE", **where)
    except client.exceptions.ResourceConflictException:
        url = client.update_function_url_config(AuthType=auth, **where) if auth else client.get_function_url_config(**where)
    for statement, permission in OPEN_TO_ALL.items() if url["AuthType"] == "NONE" else ():
        try:
            client.add_permission(StatementId=statement, Principal="*", **permission, **where)
        except client.exceptions.ResourceConflictException:
            continue  # it is there
    return url


def layer_arn(client: Any, layer: str) -> str:
    """Return the ARN of a layer version that is named by it, by NAME (the newest), or by NAME:VERSION."""
    if layer.startswith("arn:"):
        return layer
    name, _, number = layer.partition(":")
    versions = client.list_layer_versions(LayerName=name)["LayerVersions"]
    if not versions:
        raise Failure(f"there is no layer {name}; hanabi layers shows those there are")
    newest = str(versions[0]["LayerVersionArn"])
    return f"{newest.rpartition(':')[0]}:{number}" if number else newest


def published(client: Any, name: str) -> list[dict[str, Any]]:
    """List the published versions, oldest first."""
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    versions = [version for page in pages for version in page["Versions"] if version["Version"] != "$LATEST"]
    return sorted(versions, key=lambda version: int(version["Version"]))


def aliases(client: Any, name: str) -> list[dict[str, Any]]:
    return [alias for page in client.get_paginator("list_aliases").paginate(FunctionName=name) for alias in page["Aliases"]]
