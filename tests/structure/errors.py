"""All exceptions of Hanabi, read from its modules: `python -m tests.structure.errors` writes the tree in hanabi/errors.py anew."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import hanabi
from hanabi import errors
from tests.structure.sources import ROOT, room_of

SOURCE = ROOT / "hanabi" / "errors.py"
TREE = re.compile(r"^    HanabiError.*?(?=\n^HTTP statuses are)", re.DOTALL | re.MULTILINE)
WIDTH = 48  # characters up to what is said of an error


def exceptions() -> list[type[BaseException]]:
    """Every exception class of Hanabi, those for tests aside."""
    found: dict[type[BaseException], None] = {}
    for module in pkgutil.walk_packages(hanabi.__path__, "hanabi."):
        if room_of(module.name) not in ("testing", "__main__"):
            for each in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(each) and issubclass(each, BaseException) and each.__module__ == module.name:
                    found[each] = None
    return sorted(found, key=lambda each: room(each) != "")  # errors.py's own first


def room(error: type[BaseException]) -> str:
    """Who owns it: "" (errors.py), "ledger", "services.iam"."""
    parts = error.__module__.split(".")
    if error.__module__ == errors.__name__:
        return ""
    return ".".join(parts[1:3]) if parts[1] == "services" else parts[1]


def tree() -> str:
    """All below `HanabiError`, and what else crosses rooms, as the docstring shows them."""
    known = exceptions()
    lines = list(_lines(errors.HanabiError, [each for each in known if issubclass(each, errors.HanabiError)], 1))
    crossing = [each for each in known if room(each) == "contracts"]
    if crossing:
        lines += ["", "What rooms tell each other by raising, and no client ever sees:", ""]
        lines += [_line(each, 1) for each in sorted(crossing, key=lambda each: each.__name__)]
    return "\n".join(lines) + "\n"


def _lines(error: type[BaseException], known: list[type[BaseException]], depth: int) -> Iterator[str]:
    yield _line(error, depth)
    for each in known:
        if each.__bases__[0] is error:
            yield from _lines(each, known, depth + 1)


def _line(error: type[BaseException], depth: int) -> str:
    name = "  " * depth + "  " + error.__name__ + (f" [{room(error)}]" if room(error) else "")
    words = (error.__doc__ or "").strip().partition("\n")[0].partition(". ")[0].partition(": ")[0].rstrip(".")
    if issubclass(error, errors.ApiError):
        words = f"{error.status} {error.code}"
    return f"{name:{WIDTH}}{words}".rstrip()


def source() -> str:
    """hanabi/errors.py with the tree of today."""
    return TREE.sub(lambda old: tree(), SOURCE.read_text(), count=1)


if __name__ == "__main__":
    SOURCE.write_text(source())
