"""The program started as a function's runtime: a bundled bootstrap, the function's own, or an image's entry point."""

import os
from collections.abc import Mapping
from errno import ENOENT

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.container import start_container
from hanabi.environment.variables import LOG_FD
from hanabi.errors import EntrypointError

BOOTSTRAPS = ("/var/task/bootstrap", "/opt/bootstrap")  # of an OS-only runtime, in this order


# What Lambda's own entry points, which are scripts for bash, do with a wrapper.
_WRAP = (
    'if [ ! -f "$0" ]; then echo "$0: does not exist"; exit 127; fi; '
    'if [ ! -x "$0" ]; then echo "$0: is not an executable"; exit 126; fi; exec "$0" "$@"'
)


def exec_wrapper(version: FunctionVersion | None) -> str | None:
    """Return the function's wrapper script, which starts the runtime, perhaps not the bundled one.

    Images start their own. AWS Lambda developer guide, "Modifying the runtime environment": OS-only runtimes have none; nothing wraps
    their bootstrap, so `start_runtime` does not either.
    """
    if version is None or version.container is not None:
        return None
    return version.environment.get("AWS_LAMBDA_EXEC_WRAPPER") or None


async def start_runtime(sandbox: Sandbox, image: RuntimeImage, version: FunctionVersion, variables: Mapping[str, str]) -> None:
    """Start the first entry point that exists. Raises `EntrypointError`."""
    variables = {**variables, **LOG_FD}
    if version.container is not None:
        await start_container(sandbox, image, version.container, variables)
        return
    first, *others = _commands(sandbox, image, version)
    try:
        await sandbox.start("runtime", first, variables, sandbox.task_root)
    except EntrypointError as error:
        if error.errno != ENOENT or not others or has_bootstrap(version):
            raise
        await sandbox.start("runtime", others[0], variables, sandbox.task_root)


def _commands(sandbox: Sandbox, image: RuntimeImage, version: FunctionVersion) -> list[tuple[str, ...]]:
    if image.own_bootstrap:
        return [(image.own_bootstrap,)]
    if not image.command:
        return [(f"{sandbox.task_root}/bootstrap",), (BOOTSTRAPS[1],)]
    wrapper = exec_wrapper(version)
    return [("/bin/sh", "-c", _WRAP, wrapper, *image.command) if wrapper else image.command]


def has_bootstrap(version: FunctionVersion) -> bool:
    """Whether there is a bootstrap. Any link counts: it is followed in the sandbox only, never on the host."""
    return version.code is not None and os.path.lexists(version.code / "bootstrap")
