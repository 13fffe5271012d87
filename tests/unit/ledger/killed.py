"""What test_rotation.py runs: a journal that is killed at its n-th step of making, syncing or removing a segment, for n = 1, 2, ...

Each life is a fork of this process, so that a hundred of them take seconds. What a life has acknowledged it has written to a pipe.
"""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hanabi.ledger import indexer, segments
from tests.unit.ledger.support import RecordStore, finish, make_record, open_record

LIMITS = {"segment_bytes": 3000, "kept_limit_bytes": 4000}
RECORDS = 40


def main(directory: Path) -> None:
    step = 0
    while True:
        step += 1
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        killed, acknowledged = live(directory, step)
        for _ in range(2):
            rows = asyncio.run(read(directory))
            assert rows[: len(acknowledged)] == acknowledged, (step, len(rows), len(acknowledged))
            assert len(set(rows)) == len(rows) and len(rows) - len(acknowledged) <= 1, (step, len(rows), len(acknowledged))
        if not killed:
            assert len(rows) == RECORDS
            print(f"{step - 1} kills")
            return


def live(directory: Path, step: int) -> tuple[bool, list[str]]:
    """One life: whether it was killed, and what it acknowledged."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        arm(step)
        asyncio.run(write(directory, said))
        os._exit(0)
    os.close(said)
    with open(heard) as file:
        acknowledged = file.read().split("\n")[:-1]
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0, acknowledged


def arm(step: int) -> None:
    """Die in front of the step-th call that changes a segment otherwise than by appending a frame."""
    left = step

    def armed(call: Callable[..., Any], counts: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= counts(*arguments)
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return run

    for name in ("ftruncate", "fdatasync", "fsync", "link"):
        setattr(os, name, armed(getattr(os, name)))
    os.pwrite = armed(os.pwrite, lambda fd, data, offset: offset == 0)
    os.open = armed(os.open, lambda path, *_: str(path).endswith((".journal", "journal")))
    Path.unlink = armed(Path.unlink, lambda path, *_: path.suffix == ".journal")  # type: ignore[method-assign]
    for module, name in ((segments, "reserve"), (indexer, "write_progress")):
        setattr(module, name, armed(getattr(module, name)))


async def write(directory: Path, said: int) -> None:
    async with open_record(directory, **LIMITS) as store:
        for i in range(RECORDS):
            record = make_record()
            finish(store, record, f"line {i}")
            os.write(said, f"{record.request_id}\n".encode())
            await asyncio.sleep(0.002)
            if i % 10 == 9:
                await tidy(store)


async def tidy(store: RecordStore) -> None:
    """What the keeper does once a second."""
    writer = store.journal._writer
    assert writer is not None
    await asyncio.to_thread(writer.sync)
    await store.journal.wait_indexed()
    await store.journal._save()
    await store.journal.retire()


async def read(directory: Path) -> list[str]:
    async with open_record(directory, **LIMITS) as store:
        await store.journal.wait_indexed()
        assert not store.journal.tally.lost, store.journal.tally.lost
        return [record.request_id for record in await store.journal.records()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
