"""Setting up a function: its environment, paths and handler."""

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from hanabi_runtime.errors import RuntimeFailure

Handler = Callable[[Any, Any], Any]


def set_up_function(init: dict[str, Any]) -> tuple[str, list[str]]:
    """Take on the function's environment, working directory and import paths; returns its handler's name and those paths.

    One that was started for the function has its environment, and what a wrapper made of it.
    """
    handler = init["handler"]
    if init["generic"]:
        os.environ.clear()
        os.environ.update(init["environment"])
    else:
        handler = os.environ.get("_HANDLER", handler)
    os.chdir(init["task_root"])
    task_root = init["task_root"]
    root = task_root.removesuffix("/var/task") if task_root.endswith("/var/task") else ""  # of a sandbox that has none of its own
    layers = f"{root}/opt/python"
    paths = [task_root, f"{layers}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages", layers]
    sys.path[:] = paths + [path for path in sys.path if path not in paths]
    sys.path_importer_cache.clear()  # what was mounted after the start was looked for in vain before
    time.tzset()
    return handler, paths


def load_handler(name: str) -> Handler:
    """`file.function`, `folder/file.function` or `package.module.function`. Raises `RuntimeFailure`, or what the module raises."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise RuntimeFailure("Runtime.MalformedHandlerName", f"Bad handler '{name}': {error}") from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise RuntimeFailure("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise RuntimeFailure("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from None
    except SyntaxError as error:
        stack = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise RuntimeFailure("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", stack) from None
    try:
        handler: Handler = getattr(module, function_name)
    except AttributeError:
        raise RuntimeFailure("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'") from None
    return handler
