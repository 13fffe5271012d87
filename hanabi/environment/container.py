"""The start of a function that is a container image: its settings, and Lambda's words when it fails.

Each setting of the function's ImageConfig overrides the image's own. Error types and messages: the Runtime Interface Emulator.
"""

import os
from collections.abc import Mapping
from errno import EACCES, ENOENT

from hanabi.contracts.functions import ContainerCode
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Sandbox
from hanabi.errors import EntrypointError


def command_line(image: RuntimeImage, container: ContainerCode) -> tuple[str, ...]:
    return image.arguments if container.command is None else container.command


def handler_name(image: RuntimeImage, container: ContainerCode) -> str:
    """Return `_HANDLER`: the first word of the command, as observed on AWS; empty without a command."""
    return next(iter(command_line(image, container)), "")


async def start_container(sandbox: Sandbox, image: RuntimeImage, container: ContainerCode, variables: Mapping[str, str]) -> None:
    """Start the image's entry point as the runtime. Raises `EntrypointError` in Lambda's words."""
    entry_point = image.entry_point if container.entry_point is None else container.entry_point
    words = (*entry_point, *command_line(image, container))
    directory = image.working_directory if container.working_directory is None else container.working_directory
    if not directory.startswith("/"):
        raise EntrypointError(f"the working directory '{directory}' is invalid, it needs to be an absolute path", ENOENT, "chdir")
    if not words:
        raise EntrypointError("the image has neither an entry point nor a command, and the function names none", ENOENT)
    program, *rest = words
    try:
        await _start(sandbox, program, rest, variables, directory)
    except EntrypointError as error:
        if error.step == "chdir":
            raise EntrypointError(f"the working directory doesn't exist: {directory}", error.errno, "chdir") from None
        if program and "/" not in program and error.errno in (ENOENT, EACCES):
            raise EntrypointError(f'exec: "{program}": executable file not found in $PATH', error.errno) from None
        raise EntrypointError(f"fork/exec {program}: {os.strerror(error.errno).lower()}", error.errno) from None


async def _start(sandbox: Sandbox, program: str, rest: list[str], variables: Mapping[str, str], directory: str) -> None:
    """Start the command. A name without a slash is searched in PATH inside the sandbox: an image's links are not valid on the host."""
    if "/" in program or not program:
        await sandbox.start("runtime", (program, *rest), variables, directory)
        return
    refused: EntrypointError | None = None
    for place in variables.get("PATH", "").split(":"):
        try:
            await sandbox.start("runtime", (f"{place.rstrip('/') or '.'}/{program}", *rest), variables, directory)
        except EntrypointError as error:
            if error.step != "exec" or error.errno not in (ENOENT, EACCES):
                raise
            refused = error
        else:
            return
    raise refused or EntrypointError(program, ENOENT)
