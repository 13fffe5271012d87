"""The bundled Python runtime: waits on its channel for a function, then for one invocation after another.

docs/architecture.md, "Runtime channel"; behaves as AWS's Runtime Interface Client for Python does, but for its speed.
"""

# ruff: noqa: E402 (where to import from is settled first)
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
everywhere = [here, *(path for path in sys.path if path != here)]
sys.path[:] = [here, *(path for path in everywhere if path.startswith((sys.base_prefix, sys.prefix)))]  # a PYTHONPATH hides nothing of ours

from hanabi_runtime import clone, logs, preload, snapstart
from hanabi_runtime.channel import BundledChannel
from hanabi_runtime.encoding import encode_text
from hanabi_runtime.errors import RuntimeFailure, describe_exception
from hanabi_runtime.function import load_handler, set_up_function
from hanabi_runtime.invocations import serve

sys.path[:] = everywhere


def main() -> None:
    channel = BundledChannel(int(os.environ.pop("HANABI_RUNTIME_FD", "4")))
    logs.unbuffer()
    preloaded = preload.load() if "_HANDLER" not in os.environ else frozenset()
    if os.environ.pop("HANABI_ANNOUNCE", None):  # whoever takes a snapshot of this process waits for it
        channel.send(b"l")
    init = channel.receive_init()
    if preloaded:
        clone.reseed()
    name, paths = set_up_function(init)
    preload.unload_shadowed(preloaded, paths)
    logs.set_up()
    try:
        handler = load_handler(name)
    except RuntimeFailure as fault:
        error = fault.describe("")
    except Exception as exception:
        error = describe_exception(exception, "")
    else:
        failed = snapstart.run_hooks(channel) if snapstart.is_enabled() else None
        if failed is None:
            channel.send(b"r")
            serve(channel, handler)
        error = failed
    logs.log_error(error)
    channel.send(b"e", encode_text(error).encode())
    sys.exit(1)


if __name__ == "__main__":
    main()
