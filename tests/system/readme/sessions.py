"""The README's fenced blocks, in their order, as one session of a shell."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)\n```$", re.DOTALL | re.MULTILINE)


def blocks() -> list[tuple[str, str]]:
    """(language, text) of every block."""
    return [(found[1], found[2]) for found in _BLOCK.finditer((ROOT / "README.md").read_text())]


def as_typed(block: tuple[str, str]) -> str:
    """What is typed for a block: a program is saved and run as the README says."""
    language, text = block
    if language == "python":
        return f"cat > add.py <<'PROGRAM'\n{text}\nPROGRAM\npython3 add.py"
    assert language == "sh", f"a block of {language!r}: say here how a reader runs it"
    return text
