"""The heap of an interpreter that takes its size at its start: Node.js, whose V8 would size it after the host.

As AWS's bootstrap for Node.js does it: a tenth of the memory for new objects, in two halves, the rest for old ones. A running V8 takes
no other limit (`v8.setFlagsFromString` changes nothing), so that a pooled process serves functions of one size.
"""

from collections.abc import Mapping
from dataclasses import replace

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage


def for_version(image: RuntimeImage, version: FunctionVersion) -> RuntimeImage:
    """The image as it is started for a version."""
    return for_memory(image, version.memory_mb, version.environment) if version.container is None else image


def for_memory(image: RuntimeImage, memory_mb: int, environment: Mapping[str, str] | None = None) -> RuntimeImage:
    """What the function's own NODE_OPTIONS say wins: on the command line it would not."""
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
