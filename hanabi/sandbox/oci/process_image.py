"""The image of a captured process: what of its memory must be kept, and where it belongs, as `hanabi-restore` reads it.

The process has stopped itself (guest/process_snapshot/capture.c) and is hostile: what is read of it is bounded, and is used only inside
sandboxes of the same function version, by a program without rights. Two files: `plan` and `pages`, which clones map copy-on-write.

`python -m hanabi.sandbox.oci.process_image PID DIRECTORY LIMIT_BYTES` writes them: some hundred megabytes are no work for the server's own
process. It prints why it cannot, and exits with IMPOSSIBLE if it never could.
"""

import array
import os
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from hanabi.errors import SandboxError, SnapshotImpossible

# As in guest/process_snapshot/process_snapshot.h and restore.c.
STATE_ADDRESS = 0x2E00000000
RESERVED_END = 0x3100000000
_STATE_HEAD = struct.Struct("=8s240s")
_STATE_MAGIC = b"HNAIPN01"
_PLAN_MAGIC = b"HNAPLN01"
_PLAN = struct.Struct("=8sQII")
_SPECIAL = struct.Struct("=QQ")
_SPECIALS_MAX = 8
_MEMORY_MAP = struct.Struct("=12QII")
_AREA = struct.Struct("=QQQIIII")
_ANONYMOUS, _PAGES, _FILE, _READ = range(4)
_DROPPABLE, _WIPE_ON_FORK = 8, 18  # mmap's, madvise's
_SHARED, _PRIVATE, _MAP_ANONYMOUS, _NORESERVE, _NOREPLACE = 1, 2, 0x20, 0x4000, 1 << 20

PAGE = 4096
FAILED, IMPOSSIBLE = 1, 3  # exit statuses
_GAP = 16  # pages: two runs that are no further apart become one
_COPY_PAGES = 512  # copied at a time
_CHUNK = 1 << 18  # pages of the page map that are read at a time
_MAPPINGS_MAX = 1 << 24  # letters of their description; each takes some 700
_AREAS_MAX = 30_000  # the kernel lets a process have 65,530
_ADDRESSES_MAX = 1 << 36  # bytes of address space that are looked through
_STACK_BYTES = 8 << 20  # that a main thread may grow to
_BESIDES_BYTES = 64 << 20  # over the memory limit: pages that were charged to somebody else
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (.{4}) ([0-9a-f]+) \S+ (\d+) *(.*)")
_PRESENT, _SWAPPED, _OF_FILE = 1 << 63, 1 << 62, 1 << 61
_ZEROS = bytes(PAGE)


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of /proc/<pid>/smaps."""

    start: int
    end: int
    protection: int
    shared: bool
    offset: int
    inode: int
    name: str  # of its file, "[heap]" and the like, or empty
    droppable: bool = False  # the kernel may empty it at any time: what the C library draws random numbers from, since Linux 6.11
    wiped: bool = False  # empty in a forked process: by that libraries find that their random numbers must be drawn anew

    @property
    def is_file(self) -> bool:
        return self.name.startswith("/")

    @property
    def is_special(self) -> bool:
        """Whether it is of the kernel's making: [vdso], [vvar] ..."""
        return self.name.startswith(("[vdso", "[vvar"))

    @property
    def is_kernel_own(self) -> bool:
        """Whether it is there in every process."""
        return self.is_special or self.name == "[vsyscall]"


@dataclass(slots=True)
class _Plan:
    areas: list[bytes] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)  # path -> place in `text`
    text: bytearray = field(default_factory=bytearray)
    kept: int = 0  # bytes in `pages`

    def add_empty(self, each: Mapping) -> None:
        """Add one that is empty in a copy, as it is in a forked process."""
        self.add(each.start, each.end, each.protection, _ANONYMOUS)
        start, length, offset, protection, flags, source, _ = _AREA.unpack(self.areas[-1])
        if each.droppable:
            flags = flags & ~(_PRIVATE | _NORESERVE) | _DROPPABLE
        self.areas[-1] = _AREA.pack(start, length, offset, protection, flags, source, 0 if each.droppable else _WIPE_ON_FORK)

    def add(self, start: int, end: int, protection: int, source: int, offset: int = 0, *, shared: bool = False, name: str = "") -> None:
        if len(self.areas) >= _AREAS_MAX:
            raise SnapshotImpossible("its process has too many mappings")
        flags = (_SHARED if shared else _PRIVATE) | _NOREPLACE
        if source in (_ANONYMOUS, _READ):
            flags |= _MAP_ANONYMOUS | (_NORESERVE if source == _ANONYMOUS else 0)
        place = 0
        if name:
            if name not in self.names:
                self.names[name] = len(self.text)
                self.text += os.fsencode(name) + b"\0"
            place = self.names[name]
        self.areas.append(_AREA.pack(start, end - start, offset, protection, flags, source, place))


def parse_mappings(text: str) -> list[Mapping]:
    """Parse /proc/<pid>/smaps: the line of a mapping, then facts, VmFlags last. Raises `SnapshotImpossible`."""
    found: list[Mapping] = []
    for line in text.splitlines():
        if line.startswith("VmFlags:") and found:
            marks = line.split()
            found[-1] = replace(found[-1], droppable="dp" in marks, wiped="wf" in marks)
            if "ss" in marks or ("sl" in marks and found[-1].is_special):
                raise SnapshotImpossible("this kernel gives its process mappings that cannot be made again (shadow stacks, a sealed vdso)")
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        protection = sum(bit for letter, bit in zip(match[3], (1, 2, 4), strict=False) if letter != "-")
        name = match[6]
        found.append(Mapping(int(match[1], 16), int(match[2], 16), protection, match[3][3] == "s", int(match[4], 16), int(match[5]), name))
    return found


def write_image(pid: int, directory: Path, limit_bytes: int) -> None:
    """Write the image of a captured process into a directory; blocks. `limit_bytes`: of its memory.

    Raises `SnapshotImpossible` when it is one that cannot be copied, `SandboxError` when it has ended.
    """
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check_state(memory)
            mappings = parse_mappings(_read_mappings(pid))
            plan = _Plan()
            with (
                open(directory / "pages", "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as pages,
                open(f"/proc/{pid}/pagemap", "rb", buffering=0) as page_map,
            ):
                _Writer(memory, page_map.fileno(), pages.fileno(), plan, limit_bytes + _BESIDES_BYTES).write(mappings)
                os.truncate(pages.fileno(), plan.kept)
                os.fsync(pages.fileno())
            special = [each for each in mappings if each.is_special]
            _write_plan(directory / "plan", plan, special, _memory_map(pid, mappings))
        finally:
            os.close(memory)
    except OSError as error:
        raise SandboxError(f"the memory of process {pid} cannot be written: {error.strerror}") from None


def _read_mappings(pid: int) -> str:
    with open(f"/proc/{pid}/smaps", errors="surrogateescape") as file:
        text = file.read(_MAPPINGS_MAX)
    if len(text) == _MAPPINGS_MAX:
        raise SnapshotImpossible("its process has too many mappings")
    return text


def _check_state(memory: int) -> None:
    """Raise `SnapshotImpossible` if the process says that it cannot be copied."""
    try:
        magic, reason = _STATE_HEAD.unpack(os.pread(memory, _STATE_HEAD.size, STATE_ADDRESS))
    except (OSError, struct.error):
        raise SnapshotImpossible("its runtime is not one that Hanabi can copy") from None
    if magic != _STATE_MAGIC:
        raise SnapshotImpossible("its runtime is not one that Hanabi can copy")
    text = reason.partition(b"\0")[0].decode("ascii", "replace")
    if text:
        raise SnapshotImpossible("".join(letter for letter in text if letter.isprintable()))


class _Writer:
    """Writes the pages that are a process's own, and plans all its mappings."""

    def __init__(self, memory: int, page_map: int, pages: int, plan: _Plan, limit_bytes: int) -> None:
        self._memory = memory
        self._page_map = page_map
        self._pages = pages
        self._plan = plan
        self._limit_bytes = limit_bytes

    def write(self, mappings: list[Mapping]) -> None:
        if sum(each.end - each.start for each in mappings if not each.is_kernel_own) > _ADDRESSES_MAX:
            raise SnapshotImpossible("its process has reserved too much address space")
        before = 0
        for each in mappings:
            if each.start != STATE_ADDRESS and each.end > STATE_ADDRESS and each.start < RESERVED_END:
                raise SnapshotImpossible("its process uses addresses that a copy needs")
            if each.name == "[stack]" and each.start - before >= _STACK_BYTES:
                self._plan.add(each.end - _STACK_BYTES, each.start, each.protection, _ANONYMOUS)
            before = each.end
            if not each.is_kernel_own:
                self._write_mapping(each)

    def _write_mapping(self, each: Mapping) -> None:
        if each.droppable or each.wiped:
            self._plan.add_empty(each)
        elif each.shared and each.is_file and not each.protection & 2 and not each.name.endswith(" (deleted)"):
            self._plan.add(each.start, each.end, each.protection, _FILE, each.offset, shared=True, name=_checked(each.name))
        elif each.shared:
            raise SnapshotImpossible("its process shares memory")
        else:
            self._write_private(each)

    def _write_private(self, each: Mapping) -> None:
        at = each.start
        for start, end in self._own_runs(each):
            self._map_unchanged(each, at, start)
            source = _READ if each.protection & 4 else _PAGES  # a data directory may be mounted noexec
            self._plan.add(start, end, each.protection, source, self._plan.kept)
            self._copy(start, end)
            at = end
        self._map_unchanged(each, at, each.end)

    def _map_unchanged(self, each: Mapping, start: int, end: int) -> None:
        """Plan what the process has not written to: it is the file's, or zero."""
        if start == end:
            return
        if each.is_file:
            offset = each.offset + start - each.start
            self._plan.add(start, end, each.protection, _FILE, offset, name=_checked(each.name))
        else:
            self._plan.add(start, end, each.protection, _ANONYMOUS)

    def _own_runs(self, each: Mapping) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of the runs of pages that are the process's own."""
        first = last = -1
        for page in self._own_pages(each):
            if first >= 0 and page - last > _GAP:
                yield each.start + first * PAGE, each.start + (last + 1) * PAGE
                first = page
            elif first < 0:
                first = page
            last = page
        if first >= 0:
            yield each.start + first * PAGE, each.start + (last + 1) * PAGE

    def _own_pages(self, each: Mapping) -> Iterator[int]:
        count = (each.end - each.start) // PAGE
        for base in range(0, count, _CHUNK):
            entries = os.pread(self._page_map, 8 * min(_CHUNK, count - base), 8 * (each.start // PAGE + base))
            if entries.count(0) == len(entries):
                continue
            for index, entry in enumerate(array.array("Q", entries)):
                if entry & (_PRESENT | _SWAPPED) and not entry & _OF_FILE:
                    yield base + index

    def _copy(self, start: int, end: int) -> None:
        """Copy memory to the end of the pages; pages of zeros stay holes."""
        plan = self._plan
        if plan.kept + end - start > self._limit_bytes:
            raise SnapshotImpossible("its process has more memory than its function")
        while start < end:
            data = os.pread(self._memory, min(end - start, _COPY_PAGES * PAGE), start)
            if not data or len(data) % PAGE:
                raise SandboxError("the memory of a process changed while it was read")
            at = 0
            while at < len(data):
                to = at
                while to < len(data) and data[to : to + PAGE] != _ZEROS:
                    to += PAGE
                if to > at:
                    os.pwrite(self._pages, data[at:to], plan.kept + at)
                at = max(to, at + PAGE)
            plan.kept += len(data)
            start += len(data)


def _checked(name: str) -> str:
    if name.endswith(" (deleted)") or "\\" in name:
        raise SnapshotImpossible("its process has mapped a file that was deleted")
    if name.startswith(("/tmp/", "/dev/", "/proc/")):
        raise SnapshotImpossible("its process has mapped a file that a copy does not have")
    return name


def _memory_map(pid: int, mappings: list[Mapping]) -> bytes:
    """Make `struct prctl_mm_map`: where code, data, heap and arguments are."""
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()

    def value(number: int) -> int:  # proc(5) counts from 1; the name is the second
        return int(fields[number - 3])

    start_brk = value(47)
    brk = max((each.end for each in mappings if each.name == "[heap]"), default=start_brk)
    ranges = (value(26), value(27), value(45), value(46), start_brk, brk, value(28), value(48), value(49), value(50), value(51))
    return _MEMORY_MAP.pack(*ranges, 0, 0, 0xFFFFFFFF)


def _write_plan(path: Path, plan: _Plan, special: list[Mapping], memory_map: bytes) -> None:
    if len(special) > _SPECIALS_MAX:
        raise SandboxError("this kernel has more mappings of its own than are known")
    head_bytes = _PLAN.size + _SPECIALS_MAX * _SPECIAL.size + len(memory_map)
    names_at = head_bytes + _AREA.size * len(plan.areas)
    areas = b"".join(_at(each, names_at) for each in plan.areas)
    specials = b"".join(_SPECIAL.pack(each.start, each.end - each.start) for each in special).ljust(_SPECIALS_MAX * _SPECIAL.size, b"\0")
    body = specials + memory_map + areas + bytes(plan.text)
    text = _PLAN.pack(_PLAN_MAGIC, _PLAN.size + len(body), len(plan.areas), len(special)) + body
    with open(path, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _at(area: bytes, names_at: int) -> bytes:
    start, length, offset, protection, flags, source, place = _AREA.unpack(area)
    return _AREA.pack(start, length, offset, protection, flags, source, place + names_at if source == _FILE else place)


def main(pid: str, directory: str, limit_bytes: str) -> int:
    try:
        write_image(int(pid), Path(directory), int(limit_bytes))
    except SandboxError as error:
        print(error)
        return IMPOSSIBLE if isinstance(error, SnapshotImpossible) else FAILED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
