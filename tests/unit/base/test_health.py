"""What a node says of itself."""

import logging

import pytest

from hanabi.base.health import PROBLEMS_MAX, Health
from hanabi.testing import ManualClock


def test_metrics_in_prometheus_text() -> None:
    health = Health()
    health.counter("hanabi_events_dropped_total", "Events that were given up").add(3)
    assert health.counter("hanabi_events_dropped_total", "Events that were given up").value == 3
    health.gauge("hanabi_events_waiting", "Events that wait", lambda: 2.5)
    assert health.describe().splitlines() == [
        "# HELP hanabi_events_dropped_total Events that were given up",
        "# TYPE hanabi_events_dropped_total counter",
        "hanabi_events_dropped_total 3",
        "# HELP hanabi_events_waiting Events that wait",
        "# TYPE hanabi_events_waiting gauge",
        "hanabi_events_waiting 2.5",
    ]
    assert health.values() == {"hanabi_events_dropped_total": 3, "hanabi_events_waiting": 2.5}


@pytest.mark.parametrize("name", ["events_total", "hanabi_events", "hanabi_Events_total", "hanabi_events_total\n"])
def test_names_of_counters(name: str) -> None:
    with pytest.raises(ValueError):
        Health().counter(name, "text")


async def _advance(clock: ManualClock) -> None:
    await clock.advance(60)


async def test_a_problem_stands_until_it_is_over() -> None:
    clock = ManualClock()
    health = Health(clock)
    health.report("disk", "there is no room")
    begun = clock.time()
    await _advance(clock)
    health.report("disk", "there is still no room")
    assert [(problem.key, problem.text, problem.since) for problem in health.problems] == [("disk", "there is still no room", begun)]
    health.clear("disk")
    health.clear("disk")
    assert health.problems == []


def test_problems_are_bounded() -> None:
    health = Health()
    for number in range(PROBLEMS_MAX + 10):
        health.report(f"function {number}", "damaged")
    assert len(health.problems) == PROBLEMS_MAX


def test_a_problem_is_logged_at_its_level_once(caplog: pytest.LogCaptureFixture) -> None:
    health = Health()
    with caplog.at_level(logging.INFO):
        health.report("draining", "it ends", level=logging.INFO)
        health.report("draining", "it ends soon", level=logging.INFO)
        health.report("disk", "it is full")
    assert [(each.levelno, each.message) for each in caplog.records] == [(logging.INFO, "it ends"), (logging.ERROR, "it is full")]
