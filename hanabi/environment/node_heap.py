"""The heap size of Node.js, set at its start: V8 would otherwise size it by the host's memory.

As in AWS's bootstrap for Node.js: a tenth of the memory for new objects, in two halves, the rest for old ones. The limit of a running
V8 cannot be changed (`v8.setFlagsFromString` has no effect), so a pooled process serves functions of one size only.
"""

from collections.abc import Mapping
from dataclasses import replace

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage


def for_version(image: RuntimeImage, version: FunctionVersion) -> RuntimeImage:
    """Return the image with the heap size of a version."""
    return for_memory(image, version.memory_mb, version.environment) if version.container is None else image


def for_memory(image: RuntimeImage, memory_mb: int, environment: Mapping[str, str] | None = None) -> RuntimeImage:
    """Return the image with a heap size. Set in the environment, so that the function's own NODE_OPTIONS win."""
    if not image.heap_sized:
        return image
    new_mb = memory_mb // 10
    sizes = {"--max-semi-space-size": new_mb // 2, "--max-old-space-size": memory_mb - new_mb}
    own = (environment or {}).get("NODE_OPTIONS", "").replace("_", "-")
    flags = [f"{name}={size}" for name, size in sizes.items() if name not in own]
    if "--max-http-header-size" not in own:
        flags.append("--max-http-header-size=81920")
    program, *rest = image.command
    return replace(image, command=(program, "--expose-gc", *flags, *rest), heap_sized=False)
