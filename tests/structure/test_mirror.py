"""tests/unit/ mirrors hanabi/: a module's tests are where its path says."""

from tests.structure.mirror import listed, path_of_tests, untested
from tests.structure.sources import ROOT


def test_a_new_module_has_a_test_module() -> None:
    without = untested() - listed()
    assert {each: str(path_of_tests(ROOT / each).relative_to(ROOT)) for each in without} == {}


def test_the_list_of_modules_without_tests_is_current() -> None:
    assert listed() - untested() == set(), "run: python -m tests.structure.mirror"


def test_test_folders_are_those_of_the_rooms() -> None:
    folders = {path.parent.relative_to(ROOT / "tests/unit") for path in (ROOT / "tests/unit").rglob("test_*.py")}
    rooms = {path for path in folders if path.parts and path.parts[0] != "guest"}
    assert [str(path) for path in rooms if not (ROOT / "hanabi" / path).is_dir()] == []
