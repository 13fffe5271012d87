"""The number of environments to keep initialised for each version, and its listeners."""

from collections.abc import Callable

from hanabi.contracts.functions import FunctionVersion
from hanabi.control.functions import Functions
from hanabi.control.model import Function, Version
from hanabi.control.provisioned import shares

Wanted = Callable[[FunctionVersion, int], None]


class ProvisionedVersions:
    """The numbers. `target` makes the runnable form of a version."""

    def __init__(self, functions: Functions, target: Callable[[Function, Version], FunctionVersion]) -> None:
        self._functions = functions
        self._target = target
        self._listeners: list[Wanted] = []
        functions.listen(self._changed)

    def on_provisioned(self, callback: Wanted) -> None:
        """Call back with a version's number: now, and whenever it is set."""
        self._listeners.append(callback)
        for function in self._functions:
            for version, count, _ in self._wanted(function).values():
                callback(version, count)

    def _changed(self, old: Function | None, new: Function | None) -> None:
        before = self._wanted(old) if old else {}
        after = self._wanted(new) if new else {}
        for key in before.keys() - after.keys():
            self._tell(before[key][0], 0)
        for key, wanted in after.items():
            if key not in before or before[key][1:] != wanted[1:]:
                self._tell(*wanted[:2])

    def _wanted(self, function: Function) -> dict[str, tuple[FunctionVersion, int, int]]:
        """Return (version, count, when set) by `FunctionVersion.key`, for versions that are ready."""
        wanted = {}
        for config in function.provisioned.values():
            for number, count in shares(function, config).items():
                version = function.versions[number]
                if count and version.state == "Active":
                    wanted[function.key(version)] = self._target(function, version), count, config.modified_ms
        return wanted

    def _tell(self, version: FunctionVersion, count: int) -> None:
        for callback in self._listeners:
            callback(version, count)
