"""CONTRIBUTING.md names files, folders and targets that are there, and describes each thing in ten lines."""

import re

from tests.structure.sources import ROOT

PAGE = ROOT / "CONTRIBUTING.md"


def test_the_paths_are_there() -> None:
    text = PAGE.read_text() + (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`((?:hanabi|tests|docs|scripts)/[\w/.]*)", text)) | set(re.findall(r"\]\(([\w/.]+)\)", text))
    assert len(named) > 15
    assert [path for path in named if not re.search(r"[A-Z]{4}", path.removesuffix(".md")) and not (ROOT / path).exists()] == []


def test_the_make_targets_are_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([\w-]+)", PAGE.read_text(), re.MULTILINE)) <= targets


def test_each_task_has_ten_lines() -> None:
    tasks = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    described = {task.partition("\n")[0]: len(task.strip().splitlines()) - 2 for task in tasks if task.startswith("Add a")}
    assert len(described) == 3 and max(described.values()) <= 10, described
