"""Which modules of hanabi/ have no test module: `hanabi/http/server.py` is tested by `tests/unit/http/test_server.py`.

`python -m tests.structure.mirror` takes those out of the list that have one now, or are gone. A new module comes with its test.
"""

from pathlib import Path

from tests.structure.sources import ROOT, modules

LIST = ROOT / "tests" / "structure" / "modules_without_tests.txt"


def path_of_tests(module: Path) -> Path:
    below = module.relative_to(ROOT / "hanabi")
    return ROOT / "tests" / "unit" / below.parent / f"test_{below.name}"


def untested() -> set[str]:
    """Paths below the root of the repository."""
    return {
        str(path.relative_to(ROOT))
        for path in modules("hanabi")
        if path.name not in ("__init__.py", "__main__.py") and not path_of_tests(path).exists()
    }


def listed() -> set[str]:
    return set(LIST.read_text().split())


if __name__ == "__main__":
    left = listed() & untested()
    LIST.write_text("".join(f"{each}\n" for each in sorted(left)))
    print(f"{len(left)} modules have no test module of their own")
