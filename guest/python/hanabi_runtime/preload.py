"""Modules that most handlers import, loaded while a pooled process waits for its function.

A function whose own files bear such a name finds them first in Lambda; `unload_shadowed` makes room for them here.
"""

import importlib
import os
import sys
from collections.abc import Iterable

MODULES = (
    *("asyncio", "base64", "concurrent.futures", "datetime", "hashlib", "http.client"),
    *("importlib.metadata", "random", "ssl", "urllib.request", "uuid"),
)


def load() -> frozenset[str]:
    """Import them; returns all the modules that came with them."""
    before = set(sys.modules)
    for name in MODULES:
        importlib.import_module(name)
    return frozenset(sys.modules.keys() - before)


def unload_shadowed(preloaded: frozenset[str], paths: Iterable[str]) -> None:
    """Drop the preloaded modules that something in `paths` would hide."""
    if not preloaded:
        return
    names: set[str] = set()
    for path in paths:
        try:
            names.update(entry.partition(".")[0] for entry in os.listdir(path))
        except OSError:
            continue
    if hidden := names & {name.partition(".")[0] for name in preloaded}:
        for name in preloaded:
            if name.partition(".")[0] in hidden:
                sys.modules.pop(name, None)
