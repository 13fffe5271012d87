"""The diagrams of all state tables: `python -m tests.structure.states` writes them into docs/architecture.md."""

import importlib
from typing import Any

from hanabi.base.state_table import StateTable
from tests.structure.sources import ROOT, dotted

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- states: begin -->\n", "<!-- states: end -->\n"


def tables() -> "list[tuple[str, StateTable[Any, Any]]]":
    """(path, table) of each table in a module whose name ends with `states`."""
    found = []
    for path in sorted((ROOT / "hanabi").rglob("*states.py")):
        for table in vars(importlib.import_module(dotted(path))).values():
            if isinstance(table, StateTable):
                found.append((str(path.relative_to(ROOT)), table))
    return found


def section() -> str:
    note = "Made from the tables by `python -m tests.structure.states`, checked by `make check`.\n"
    return "\n".join([note, *(f"`{path}`: {table.title}\n\n{table.diagram()}" for path, table in tables())])


def page() -> str:
    """docs/architecture.md with the diagrams of today."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + section() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
