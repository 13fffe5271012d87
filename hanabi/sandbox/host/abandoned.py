"""What killed servers of other run directories left on this host under numbers that are ours now.

A number is an address and a range of uids. Whoever holds the lock of a number's block is alone with it, so an interface or a process
that has the number and is not ours belongs to a server that was killed and never started again. Left alone, two sandboxes would
share an address, or a uid.
"""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from hanabi.sandbox.host.host_ids import BLOCK, UID_BASE
from hanabi.sandbox.oci.bundle_config import UID_RANGE

_INTERFACE = re.compile(r"hn([0-9a-f]{6})([0-9a-f]{1,5})")
_GROUP = re.compile(r":/(?:.*/)?hanabi/([0-9a-f]{6})/")


def tags(blocks: Collection[int], own: str) -> set[str]:
    """Of the run directories, but for our own, that have anything under a number of these blocks."""
    found = {tag for tag, number in _interfaces() if number // BLOCK in blocks}
    found |= {tag for pid, number in _processes() if number // BLOCK in blocks for tag in _tags_of(pid)}
    return found - {own}


def _interfaces() -> Iterator[tuple[str, int]]:
    for name in os.listdir("/sys/class/net"):
        if match := _INTERFACE.fullmatch(name):
            yield match[1], int(match[2], 16)


def _processes() -> Iterator[tuple[int, int]]:
    """(pid, number) of every process whose uid is a sandbox's."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                uid = os.stat(f"/proc/{name}").st_uid
                if UID_BASE <= uid < 2 * UID_BASE:
                    yield int(name), (uid - UID_BASE) // UID_RANGE


def _tags_of(pid: int) -> list[str]:
    with suppress(OSError):
        return _GROUP.findall(Path(f"/proc/{pid}/cgroup").read_text())
    return []
