"""The lineage of a trace."""

import pytest

from hanabi.contracts.lineage import ENTRIES, extend, function_hash, recursions

F, G = (f"arn:aws:lambda:us-east-1:000000000000:function:{name}" for name in "fg")
ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


def test_a_chain_counts_how_often_it_comes_back() -> None:
    trace = ROOT
    for count in range(20):
        trace = extend(trace, F)
        assert recursions(trace, F) == count and recursions(trace, G) == max(0, count - 1)
        trace = extend(trace, G)
    assert trace == f"{ROOT};Lineage=1:{function_hash(F)}:19|{function_hash(G)}:19"


def test_a_lineage_is_bounded_and_keeps_what_loops() -> None:
    trace = extend(extend(ROOT, F), F)
    for number in range(5000):
        trace = extend(trace, f"{G}{number}")
        assert len(trace) < 256
    assert recursions(trace, F) == 1 and trace.count("|") == ENTRIES - 1


@pytest.mark.parametrize("lineage", ["", "x", "1:", "1:zz:0", "1:abcdef01", "abcdef01:99999", "|||", "1:abcdef01:-1"])
def test_what_is_no_lineage_counts_for_nothing(lineage: str) -> None:
    trace = f"{ROOT};Lineage={lineage}"
    assert recursions(trace, F) == 0
    assert extend(trace, F).startswith(f"{ROOT};Lineage=1:") and recursions(extend(trace, F), F) == 0
