"""What test_small_disk.py runs in a mount namespace of its own: a record on a small file system that somebody else fills."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

from hanabi.base.clock import SystemClock
from tests.unit.ledger.support import GROUP, STREAM, RecordStore, finish, make_record, open_record
from tests.waiting import until

SEGMENT = 4 << 20
AFTER = 60  # in each turn: of 256 that may run when the rest is refused, with segments of this size


def main(kind: str, directory: Path) -> None:
    place = directory / "disk"
    place.mkdir()
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)], check=True)
    else:
        image = directory / "image"
        with image.open("wb") as file:
            file.truncate(24 << 20)
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    asyncio.run(check(place))
    asyncio.run(check_again(place))


async def check(place: Path) -> None:
    async with open_record(place, SystemClock(), segment_bytes=SEGMENT) as store:
        writer = store.journal._writer
        assert writer is not None and writer.reserves
        finished = 0
        for turn in range(4):
            fill(place / f"filling {turn}")  # all of it, also what the journal has given back meanwhile
            began = finished
            while not store.journal.full:
                await run(store, 1)
                finished += 1
                assert finished - began < 20_000
            for _ in range(AFTER):
                store.journal.log(GROUP, STREAM, [(1_795_000_000_000, "x" * 20_000)])
                await run(store, 1)
            finished += AFTER
        assert store.journal.tally.lost.invocations == 0, store.journal.tally.lost
        assert await count(store) == finished, "the sums come from the journal while record.db cannot be written"
        for turn in range(4):
            (place / f"filling {turn}").unlink()
        await until(lambda: not store.journal.full)
        await run(store, 3000)
        assert not store.journal.full and await count(store) == finished + 3000
        await store.journal.wait_indexed()
        (place / "finished").write_text(str(finished + 3000))


async def check_again(place: Path) -> None:
    async with open_record(place, SystemClock(), segment_bytes=SEGMENT) as store:
        assert await count(store) == int((place / "finished").read_text())
        assert store.journal.tally.lost.invocations == 0


async def run(store: RecordStore, number: int) -> None:
    for _ in range(number):
        record = make_record()
        finish(store, record, "printed " * 30)
        await asyncio.sleep(0)


async def count(store: RecordStore) -> int:
    return sum(row.requests for row in await store.usage.rows("month"))


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
