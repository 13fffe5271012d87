"""The trace that a function gets of its caller's header."""

import re

import pytest

from hanabi.edge.traces import begin_trace, root_of

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
NOW_S = 0x6A465185
WHOLE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
LINEAGE = ";Lineage=1:[0-9a-f]{8}:0"
NEW = re.compile(f"Root=1-6a465185-[0-9a-f]{{24}};Parent=[0-9a-f]{{16}};Sampled=0{LINEAGE}")


def test_a_new_trace_is_not_sampled() -> None:
    first, second = (begin_trace("", NOW_S, ARN) for _ in range(2))
    assert NEW.fullmatch(first) and root_of(first) != root_of(second)
    assert first.partition("Lineage")[2] == second.partition("Lineage")[2]  # one for each function
    assert first.partition("Lineage")[2] != begin_trace("", NOW_S, f"{ARN}2").partition("Lineage")[2]


@pytest.mark.parametrize("given", ["ü", "a\nb", "x" * 257, "Parent=53995c3f42cd8ad8;Sampled=1", "Root=", "Unroot=1-2-3", "rubbish"])
def test_what_is_no_trace_is_replaced(given: str) -> None:
    assert NEW.fullmatch(begin_trace(given, NOW_S, ARN))


def test_active_tracing_samples_what_the_caller_leaves_open() -> None:
    root = root_of(WHOLE)
    assert ";Sampled=1;" in begin_trace("", NOW_S, ARN, True) and ";Sampled=1;" in begin_trace(root, NOW_S, ARN, True)
    assert ";Sampled=1;" in begin_trace("rubbish", NOW_S, ARN, True)
    assert ";Sampled=0;" in begin_trace(f"{root};Sampled=0", NOW_S, ARN, True)


def test_root_parent_and_decision_are_kept_and_lambdas_own_is_added() -> None:
    assert re.fullmatch(re.escape(WHOLE) + LINEAGE, begin_trace(WHOLE, NOW_S, ARN))
    assert root_of(WHOLE) == "Root=1-5759e988-bd862e3fe1be46a994272793"


@pytest.mark.parametrize("lineage", ["Lineage=a87bd80c:1|68fd508a:5", "Lineage=1:fe460cdd:0", "lineage=807054f4:0"])
def test_a_lineage_gets_the_function(lineage: str) -> None:
    """The Runtime Interface Emulator's own test has it in any place."""
    rest = "Parent=53995c3f42cd8ad8;Sampled=1;Root=1-2-3"
    entries = lineage.partition("=")[2].removeprefix("1:")
    own = begin_trace("", NOW_S, ARN).rpartition(":0")[0].rpartition(":")[2]
    assert begin_trace(f"{WHOLE};{lineage}", NOW_S, ARN) == f"{WHOLE};Lineage=1:{entries}|{own}:0"
    assert begin_trace(f"{lineage};{rest}", NOW_S, ARN) == f"Lineage=1:{entries}|{own}:0;{rest}"
    again = begin_trace(begin_trace(WHOLE, NOW_S, ARN), NOW_S, ARN)
    assert again == f"{WHOLE};Lineage=1:{own}:1"


def test_what_is_missing_is_added() -> None:
    root = root_of(WHOLE)
    assert re.fullmatch(f"{root};Parent=[0-9a-f]{{16}};Sampled=0{LINEAGE}", begin_trace(root, NOW_S, ARN))
    assert re.fullmatch(f"{root};Parent=[0-9a-f]{{16}};Sampled=0{LINEAGE}", begin_trace(f"Self=1-0-1;{root}", NOW_S, ARN).partition(";")[2])
    assert re.fullmatch(f"{root};Sampled=1;Parent=[0-9a-f]{{16}}{LINEAGE}", begin_trace(f"{root};Sampled=1", NOW_S, ARN))
