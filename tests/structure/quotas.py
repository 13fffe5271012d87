"""The numbers of hanabi/quotas.py with their sources, as docs/quotas.md shows them: `python -m tests.structure.quotas` writes it."""

import re
from dataclasses import dataclass
from typing import Any

from hanabi import quotas
from tests.structure.sources import ROOT

SOURCE = ROOT / "hanabi" / "quotas.py"
PAGE = ROOT / "docs" / "quotas.md"
_LINE = re.compile(r"^(?P<name>[A-Z][A-Z0-9_]+) = .*?  # (?P<comment>.+)$", re.MULTILINE)
_COMMENT = re.compile(r'(?P<guide>[^"]*?)(, )?"(?P<page>[^"]+)"(: (?P<note>.+))?')
_SECTION = re.compile(r"^# --- (?P<title>.+?) -+$", re.MULTILINE)
_UNITS = {"BYTES": "bytes", "MB": "MiB", "S": "s", "MS": "ms", "US": "us", "DAYS": "days", "CHARS": "characters", "USD": "US dollars"}


@dataclass(frozen=True)
class Quota:
    name: str
    section: str
    guide: str
    page: str
    note: str

    @property
    def value(self) -> Any:
        return getattr(quotas, self.name)

    @property
    def shown(self) -> str:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return ", ".join(f"{each:,}" if isinstance(each, int) else f"{each:,g}" if each >= 1 else f"{each:.10g}" for each in values)


def listed() -> list[Quota]:
    """Raises `ValueError` for one whose comment names no page."""
    text = SOURCE.read_text()
    sections = [(match.start(), match["title"]) for match in _SECTION.finditer(text)]
    found = []
    for match in _LINE.finditer(text):
        comment = _COMMENT.fullmatch(match["comment"])
        if comment is None:
            raise ValueError(f"{match['name']}: its comment names no page")
        section = [title for start, title in sections if start < match.start()][-1]
        guide = comment["guide"] or "AWS Lambda developer guide"
        found.append(Quota(match["name"], section, guide, comment["page"], comment["note"] or ""))
    return found


def page() -> str:
    lines = [
        "# Quotas",
        "",
        "Every number of AWS's that Hanabi holds to. Generated from `hanabi/quotas.py`, where each stands once, by",
        "`python -m tests.structure.quotas`; `make check` fails when it is out of date.",
    ]
    section = ""
    for each in listed():
        if each.section != section:
            section = each.section
            lines += ["", f"## {section[0].upper()}{section[1:]}", "", "| quota | value | source | |", "|---|---|---|---|"]
        unit = next((word for end, word in _UNITS.items() if each.name.endswith(f"_{end}")), "")
        lines.append(f'| `{each.name}` | {each.shown}{" " + unit if unit else ""} | {each.guide}, "{each.page}" | {each.note} |')
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page())
