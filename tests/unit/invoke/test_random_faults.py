"""Everything at once, in an order drawn by lot: whatever happens, the counts are right at the end and nothing is left."""

import asyncio
import random

import pytest

from hanabi.contracts.invocation import Result
from hanabi.contracts.sandbox import Exit
from hanabi.errors import HanabiError, SandboxError
from tests.unit.fleet.rig import Rig
from tests.waiting import until

ORDERS = [b"{}"] * 6 + [b"print x", b"fail", b"exit 1", b"kill 9", b"hang", b"babble", b"last-words"]
PLACES = 5
MEMORY_MB = 3000  # the largest function needs two thirds of it
RUNTIMES = ("python3.11", "provided.al2023")


async def act(rig: Rig, lot: random.Random, running: "list[asyncio.Task[Result]]") -> None:
    number = lot.randrange(10)
    if number < 5:
        number = lot.randrange(4)
        version = rig.version(f"f{number}", runtime=RUNTIMES[number % 2], memory_mb=256 << number, timeout_s=1)
        running.append(rig.begin(version, lot.choice(ORDERS), reserved=lot.choice([None, 2])))
    elif number == 5 and running:
        lot.choice(running).cancel()
    elif number == 6 and rig.driver.alive:
        lot.choice(rig.driver.alive).vanish()
    elif number == 7 and rig.driver.alive:
        lot.choice(rig.driver.alive).on_exit(Exit("runtime", 1, None))
    elif number == 8:
        rig.fleet.retire(f"f{lot.randrange(4)}")
    else:
        rig.driver.create_errors.append(SandboxError("no"))
    for _ in range(lot.randrange(8)):
        await asyncio.sleep(0)
    if lot.random() < 0.1:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_is_lost_or_left(seed: int) -> None:
    lot = random.Random(seed)
    rig = Rig(
        max_environments=PLACES,
        max_memory_mb=MEMORY_MB,
        pool_size=lot.choice([0, 1]),
        freeze_after_s=lot.choice([0.0, 0.002]),
        unreserved=8,
    )
    async with rig:
        running: list[asyncio.Task[Result]] = []
        for _ in range(150):
            await act(rig, lot, running)
            assert len(rig.driver.alive) <= PLACES
            assert rig.fleet.describe_budget()["memory_mb"] <= MEMORY_MB
        if lot.random() < 0.5:  # else the end finds them all running
            await asyncio.wait(running, timeout=20)
            assert all(task.done() for task in running)
            rig.driver.create_errors.clear()
            assert (await rig.invoke(rig.version("after"))).payload == b"{}"
    results = await asyncio.gather(*running, return_exceptions=True)
    for each in results:
        assert isinstance(each, Result | HanabiError | asyncio.CancelledError), repr(each)
    assert all(rig.admission.running(f"f{number}") == 0 for number in range(4)) and not any(rig.admission._unreserved.values())
    assert (
        rig.environments.budget.used == (0, 0)
        and not rig.fleet._waiting
        and not rig.fleet._waiting.starts
        and not len(rig.environments.idle)
    )
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
