"""Who uses a driver asks it what it can do, never which one it is."""

import re

from tests.structure.sources import ROOT, modules


def test_no_driver_is_told_by_its_name() -> None:
    by_name = re.compile(r"driver\.name\s*(==|!=|in\b|not in\b)|isinstance\([^()]*,[^()]*Driver\b")
    found = [f"{path.relative_to(ROOT)}: {match[0]}" for path in modules("hanabi") for match in by_name.finditer(path.read_text())]
    assert found == []
