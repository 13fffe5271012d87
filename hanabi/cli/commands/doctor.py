"""hanabi doctor: say which defences are active on this host, and how to fix what is missing"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from hanabi.cli.failure import Failure, not_running
from hanabi.cli.server import fetch, find_server, port_of
from hanabi.cli.terminal import paint
from hanabi.errors import SandboxError, StateError
from hanabi.node.config import NodeSettings, load_settings

if TYPE_CHECKING:
    from hanabi.sandbox.host.doctor import Check

_MARKS = {True: "ok  ", False: "FAIL", None: "-   "}
_COLOURS = {True: "green", False: "red", None: "dim"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("--require", choices=("firecracker",), help="fail unless all that microVMs need is there")
    parser.add_argument(
        "--images-dir", metavar="DIR", help="where guest kernels and Firecracker live (default: images/ in the data directory)"
    )
    for name in ("firecracker", "jailer", "kernel"):
        parser.add_argument(f"--{name}", metavar="PATH", help=f"as for `hanabi up --{name}`")


def run(options: argparse.Namespace) -> int:
    """Run the checks. Exit status 1 when something needs a fix; a stopped server does not count."""
    from hanabi.sandbox.host.doctor import Check, probe, probe_microvm

    if options.require:
        checks = [*probe_microvm(), *_parts(options, required=True)]
        checks.append(_microvm(options, all(check.ok for check in checks)))
    else:
        checks = [*probe(), *_parts(options, required=False), Check("server", *_ask_server(options))]
        said = _ask_problems(options) if checks[-1].ok else {}
        checks += [Check("choice", None, text) for text in said.get("choices", [])]
        checks += [Check("problem", False, problem["text"]) for problem in said.get("problems", [])]
    if options.json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            first, *more = check.detail.split("\n")
            mark = paint(_MARKS[check.ok], _COLOURS[check.ok], sys.stdout)
            print(f"{mark} {check.name:<{width}}  {first}")
            for line in more:
                print(f"{'':<{width + 7}}{line}")
            if check.fix and not check.ok:
                print(f"{'':<{width + 6}}{paint('->', 'bold', sys.stdout)} {check.fix}")
    fine = all(check.ok for check in checks) if options.require else not any(check.ok is False for check in checks)
    return 0 if fine else 1


def _microvm(options: argparse.Namespace, complete: bool) -> "Check":
    """Check microVMs by booting a guest: a KVM that answers may still run none."""
    from hanabi.node.microvm_check import try_microvm
    from hanabi.sandbox.host.doctor import Check

    if not complete:
        return Check("microvm", False, "not tried: something that it needs is missing", "fix what is marked above")
    try:
        return Check("microvm", True, try_microvm(_settings(options)))
    except SandboxError as error:
        fix = "use a host whose KVM is the hardware's own, or another --kernel; or containers: hanabi up --isolation oci"
        return Check("microvm", False, str(error), fix)


def _settings(options: argparse.Namespace) -> NodeSettings:
    names = ("data_dir", "images_dir", "firecracker", "jailer", "kernel")
    return load_settings({name: getattr(options, name, None) for name in names})


def _parts(options: argparse.Namespace, *, required: bool) -> "Iterator[Check]":
    """Check the parts that microVMs need besides the host. Missing ones are a fault only where microVMs are required."""
    from hanabi.images.microvm_parts import MicroVmParts
    from hanabi.sandbox.host.doctor import Check

    settings = _settings(options)
    for finding in MicroVmParts(settings.images_dir).inspect(settings.firecracker, settings.jailer, settings.kernel):
        check = Check(*astuple(finding))
        yield check if check.ok or required else Check(check.name, None, f"{check.detail}; for microVMs", check.fix)


def _ask_server(options: argparse.Namespace) -> tuple[bool | None, str, str]:
    """Ask the server; returns (ok, detail, fix)."""
    port = port_of(options)
    try:
        status, body = fetch(port, "/_hanabi/health", {})
    except OSError:
        return None, "not running", not_running(options)
    if status == 503 and b'"draining"' in body:
        return None, f"shutting down on port {port}", ""
    return (True, f"healthy on port {port}", "") if status == 200 else (False, f"port {port} answers {status}", "see what it logged")


def _ask_problems(options: argparse.Namespace) -> dict[str, Any]:
    """Ask the server for its problems and for settings less strict than AWS; none where its key is unreadable here."""
    try:
        said: dict[str, Any] = find_server(options).get("/_hanabi/problems", {})
    except StateError as error:
        return {"problems": [{"text": str(error)}]}
    except Failure:
        return {}
    return said
