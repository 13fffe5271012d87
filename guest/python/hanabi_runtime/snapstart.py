"""SnapStart: the function's hooks, before the snapshot of this process and after each restore of it.

They are registered with the snapshot_restore_py package: before-snapshot hooks run in reverse order, after-restore hooks in order.
"""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import os
import sys
from typing import Any

from hanabi_runtime import capture, clone
from hanabi_runtime.channel import BundledChannel
from hanabi_runtime.errors import RuntimeFailure, describe_exception


def is_enabled() -> bool:
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


def run_hooks(channel: BundledChannel) -> dict[str, Any] | None:
    """Run the hooks of both sides of a snapshot; between them this process is frozen, and goes on as a clone. Returns an error, or None."""
    package = sys.modules.get("snapshot_restore_py")  # whoever has hooks has imported it
    try:
        before = package.get_before_snapshot() if package else []
        while before:
            hook, arguments, keywords = before.pop()
            hook(*arguments, **keywords)
    except Exception as error:
        return _describe(error, "Runtime.BeforeSnapshotError")
    if capture.is_wanted():
        capture.stop(channel)
    else:
        channel.send(b"l")
    awake = channel.receive_restored()
    clone.reseed()
    os.environ.update(awake["environment"])
    try:
        for hook, arguments, keywords in package.get_after_restore() if package else []:
            hook(*arguments, **keywords)
    except Exception as error:
        return _describe(error, "Runtime.AfterRestoreError")
    return None


def _describe(error: Exception, kind: str) -> dict[str, Any]:
    described = describe_exception(error, "")
    return RuntimeFailure(kind, f"{described['errorType']}: {described['errorMessage']}", described["stackTrace"]).describe("")
