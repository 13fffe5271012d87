"""The runtime's imports of the standard library, which a function's files must not shadow.

All that the runtime, its log and its errors ever import is imported here, before the function's directory heads `sys.path`: in AWS's
runtime a function finds these loaded, too. What is only wanted now and then is imported by `fetch`.
"""

import ast  # noqa: F401  (of tracebacks with marks below what failed)
import importlib
import linecache  # noqa: F401
import sys
import tokenize  # noqa: F401  (of linecache, at its first line)
import traceback  # noqa: F401
import unicodedata  # noqa: F401  (of tracebacks of lines that are not ASCII)
from types import ModuleType

PATHS = tuple(sys.path)  # before a function's are among them


def fetch(name: str) -> ModuleType:
    """Import a module of the standard library, and what it imports, whatever the function calls its files."""
    present = sys.path[:]
    sys.path[:] = PATHS
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = present
