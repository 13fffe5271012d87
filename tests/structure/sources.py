"""The repository's own files, as the structure tests read them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    """Files that are, or are about to be, in the repository."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() if listed.returncode == 0 else [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py")]
    return [ROOT / name for name in names if not name.startswith((".venv/", "build/")) and (ROOT / name).is_file()]


def modules(*rooms: str) -> list[Path]:
    """Python modules below some top-level directories, empty ones aside."""
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in rooms and path.stat().st_size]


def room_of(module: str) -> str:
    """`hanabi.edge.edge` -> `api`; `hanabi.node.serve` -> `node`"""
    return module.split(".")[1]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
