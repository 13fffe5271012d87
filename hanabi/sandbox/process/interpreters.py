"""The host's interpreters for the `process` driver: of the same version as the runtime's, and tried once."""

import os
import re
import shutil
import sys
from errno import ENOENT

from hanabi.base.processes import ask
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import EntrypointError

TRIAL_S = 10.0
_PYTHON, _NODE = re.compile(r"python(\d[\d.]*)"), re.compile(r"nodejs(\d+)\.x")
_found: dict[str, str] = {}  # by runtime; what is not there yet is looked for again


def why_unavailable(runtime: str) -> str:
    """Why a runtime's functions cannot run on this host without isolation; empty: they can. Blocks."""
    if runtime.startswith(("java", "ruby", "dotnet")):
        return "--isolation process runs Python, Node.js and OS-only runtimes: use --isolation oci"
    if not (_PYTHON.fullmatch(runtime) or _NODE.fullmatch(runtime)) or _find_interpreter(runtime):
        return ""
    name = "node of that version" if runtime.startswith("nodejs") else runtime
    return f"this host has no {name} on PATH, which --isolation process needs: install it, or choose another runtime or --isolation oci"


def find_program(program: str, image: RuntimeImage) -> str:
    """Find the host's program of the same version as one of the runtime root. Raises `EntrypointError`. Blocks."""
    name = os.path.basename(program)
    if re.fullmatch(r"python[\d.]*", name) and _PYTHON.fullmatch(image.runtime):
        name, found = image.runtime, _find_interpreter(image.runtime)
    elif re.fullmatch(r"node(js)?", name) and _NODE.fullmatch(image.runtime):
        name, found = image.runtime, _find_interpreter(image.runtime)
    else:
        found = shutil.which(name) or ""
    if not found:
        raise EntrypointError(f"{program}: this host has no {name}, which --isolation process needs", ENOENT)
    return found


def _find_interpreter(runtime: str) -> str:
    """Find an interpreter; empty when none runs."""
    if runtime not in _found and (path := _look_for(runtime)):
        _found[runtime] = path
    return _found.get(runtime, "")


def _look_for(runtime: str) -> str:
    if runtime == f"python{sys.version_info.major}.{sys.version_info.minor}":
        return os.path.realpath(sys.executable)
    if node := _NODE.fullmatch(runtime):
        path = shutil.which("node") or ""
        return path if path and _output_of(path, "--version").removeprefix("v").partition(".")[0] == node[1] else ""
    path = shutil.which(runtime) or ""
    version = runtime.removeprefix("python")
    return path if path and _output_of(path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])") == version else ""


def _output_of(*command: str) -> str:
    """Run a program and return its output. A name on PATH is not enough: version managers put stubs there for versions not installed."""
    return (ask(command, timeout_s=TRIAL_S) or "").strip()
