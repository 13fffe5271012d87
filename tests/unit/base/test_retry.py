"""Work that failed has an owner, who tries again."""

import pytest

from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.testing import ManualClock


class Flaky:
    """Fails so many times, then works."""

    def __init__(self, clock: ManualClock, failures: int) -> None:
        self.clock = clock
        self.failures = failures
        self.times: list[float] = []

    async def run(self) -> None:
        self.times.append(self.clock.monotonic())
        if len(self.times) <= self.failures:
            raise OSError("the disk is full")


async def test_it_is_tried_until_it_succeeds_and_is_seen_meanwhile() -> None:
    clock = ManualClock()
    health = Health(clock)
    retries = RetryQueue(clock, health)
    work = Flaky(clock, 8)
    retries.add("mark", "The mark cannot be made", work.run, OSError("first"))
    retries.add("mark", "The mark cannot be made", work.run, OSError("the same one"))
    assert [problem.text for problem in health.problems] == ["The mark cannot be made: first; it is tried again"]
    await clock.advance(70)
    assert [problem.text for problem in health.problems] == ["The mark cannot be made: the disk is full; it is tried again"]
    await clock.advance(400)
    assert work.times == [1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert health.problems == [] and len(retries) == 0
    assert health.values()["hanabi_retries_total"] == 9
    await retries.close()


async def test_a_nudge_is_a_try_at_once() -> None:
    clock = ManualClock()
    retries = RetryQueue(clock)
    work = Flaky(clock, 5)
    retries.add("mark", "x", work.run)
    await clock.advance(40)
    assert work.times[-1] == 31
    retries.nudge("mark")
    await clock.advance(0)
    assert work.times[-1] == 40
    assert "mark" not in retries


async def test_what_is_dropped_is_not_tried_again() -> None:
    clock = ManualClock()
    health = Health(clock)
    retries = RetryQueue(clock, health)
    work = Flaky(clock, 5)
    retries.add("mark", "x", work.run)
    retries.drop("mark")
    retries.drop("mark")
    await clock.advance(40)
    assert work.times == [] and health.problems == []


@pytest.mark.parametrize("failures", [0, 9])
async def test_at_the_end_each_is_tried_once_more_in_order(failures: int) -> None:
    clock = ManualClock()
    health = Health(clock)
    retries = RetryQueue(clock, health)
    order: list[str] = []

    async def work(name: str) -> None:
        order.append(name)
        if failures:
            raise OSError("still")

    for name in ("a", "b", "c"):
        retries.add(name, name, lambda name=name: work(name))  # type: ignore[misc]
    await retries.close()
    assert order == ["a", "b", "c"]
    assert health.values()["hanabi_given_up_total"] == (3 if failures else 0)
    retries.add("late", "late", lambda: work("late"))
    assert len(retries) == 0


async def test_they_are_bounded() -> None:
    clock = ManualClock()
    health = Health(clock)
    retries = RetryQueue(clock, health, limit=2)
    for name in ("a", "b", "c"):
        retries.add(name, name, Flaky(clock, 0).run)
    assert len(retries) == 2
    assert health.values()["hanabi_given_up_total"] == 1
    await retries.close()
