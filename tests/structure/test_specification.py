"""What SPECIFICATION.md promises is held by something that is there."""

import ast
import re

from tests.structure.sources import ROOT

PAGE = ROOT / "SPECIFICATION.md"


def test_each_promise_is_held_by_what_is_there() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) > 20
    missing = []
    for row in rows:
        assert len(row) == 3, row
        (held,) = re.findall(r"`([^`]*\.(?:py|md)[^`]*)`", row[2])[:1]
        path, _, test = held.partition("::")
        if not (ROOT / path).is_file():
            missing.append(held)
        elif test:
            names = {getattr(node, "name", "") for node in ast.walk(ast.parse((ROOT / path).read_text()))}
            missing += [] if test in names else [held]
    assert missing == []


def test_the_budget_of_an_invocation_is_read() -> None:
    from bench.path.__main__ import read_budget

    assert 10 < read_budget() < 100
