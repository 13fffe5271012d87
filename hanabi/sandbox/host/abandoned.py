"""Leftovers of killed servers with other run directories, under sandbox numbers that this server now has.

A number is an address and a range of uids. Only the holder of the lock of a number's block uses it, so an interface or a process
that has the number and is not ours belongs to a server that was killed and never restarted. Otherwise two sandboxes would
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
    """Tags of other run directories that have interfaces or processes under a number of these blocks."""
    found = {tag for tag, number in _interfaces() if number // BLOCK in blocks}
    found |= {tag for pid, number in _processes() if number // BLOCK in blocks for tag in _tags_of(pid)}
    return found - {own}


def _interfaces() -> Iterator[tuple[str, int]]:
    for name in os.listdir("/sys/class/net"):
        if match := _INTERFACE.fullmatch(name):
            yield match[1], int(match[2], 16)


def _processes() -> Iterator[tuple[int, int]]:
    """Yield (pid, number) of every process with a sandbox's uid."""
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
