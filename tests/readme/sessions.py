"""The README's sessions, as they are written: fenced blocks marked by `<!-- test: NAME -->`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def session(name: str) -> str:
    """The block that follows the mark."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)\n```\n", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, f"README.md has no session {name!r}"
    return found[1]
