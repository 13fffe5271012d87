"""Scripted faults: what goes wrong, at which request, how often."""

import fcntl
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

ACTIONS = {
    "delay": "wait `seconds`, then go on as if nothing were",
    "refuse": "answer 400 with `message` (of the agent: an error number), and do nothing",
    "hang": "never answer; of `jailer`: never end",
    "close": "hang up without an answer",
    "garbage": "answer what nobody can read",
    "half-answer": "do it, answer half, hang up",
    "crash-before": "end without doing it",
    "crash-after": "do it, and end without an answer; of `jailer`: start the VMM, tell nobody its number, and fail",
    "crash-answered": "do it, answer, and end",
    "half-state": "of a snapshot: write half of the state file, and end",
    "half-memory": "of a snapshot: write half of the memory file and none of the state, and end",
    "deaf-socket": "of `start`: make the API socket's file, and never listen",
    "lie": "of the agent: say `message`, bytes in hexadecimal, instead",
}
_COUNT = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`on` names what is hit, by a shell pattern: a request (`PUT /snapshot/load`, `PATCH /drives/*`, any: `* /*`), `jailer`, `start` (of
    the VMM), a connection to the guest (`CONNECT 5000`), or a message to the agent (`agent V`, its hello being `agent H`)."""

    on: str
    do: str
    after: int = 0  # so many that match go well first
    times: int = 1  # and so many are hit then
    seconds: float = 0.0
    message: str = "an injected fault"
    id: str = "*"  # of the VMMs that are hit, by a shell pattern

    def __post_init__(self) -> None:
        if self.do not in ACTIONS:
            raise ValueError(f"no such fault: {self.do}; there are {', '.join(ACTIONS)}")

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Fault":
        unknown = document.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
        return cls(**document)


class Faults:
    """The faults of a script. `match` finds the fault for an event. `ledger`, an open file, lets several processes share counts."""

    def __init__(self, faults: Sequence[Fault] = (), id: str = "", ledger: int | None = None) -> None:
        self.faults = list(faults)
        self._id = id
        self._ledger = ledger
        self._seen: dict[int, int] = {}

    def match(self, what: str) -> Fault | None:
        struck = None
        for index, fault in enumerate(self.faults):
            if fnmatchcase(what, fault.on) and fnmatchcase(self._id, fault.id):
                seen = self._count(index)
                if struck is None and fault.after <= seen < fault.after + fault.times:
                    struck = fault
        return struck

    def _count(self, index: int) -> int:
        """Count a match; returns how often the fault matched before."""
        if self._ledger is None:
            self._seen[index] = self._seen.get(index, 0) + 1
            return self._seen[index] - 1
        fcntl.lockf(self._ledger, fcntl.LOCK_EX)
        try:
            (seen,) = _COUNT.unpack(os.pread(self._ledger, 4, 4 * index).ljust(4, b"\0"))
            os.pwrite(self._ledger, _COUNT.pack(seen + 1), 4 * index)
            return int(seen)
        finally:
            fcntl.lockf(self._ledger, fcntl.LOCK_UN)
