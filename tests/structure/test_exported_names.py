"""What other people's code may import: these packages and names, and no others. All else may change between any two versions."""

import importlib
import pkgutil

import hanabi

PUBLIC = {
    "hanabi": ["__version__"],
    "hanabi.cli": ["main"],
    "hanabi.testing": ["FakeFirecracker", "Fault", "ManualClock", "ManualTimer"],
}


def test_the_exported_names_are_these() -> None:
    packages = ["hanabi", *(f"hanabi.{each.name}" for each in pkgutil.iter_modules(hanabi.__path__) if each.ispkg)]
    exported = {name: getattr(importlib.import_module(name), "__all__", None) for name in packages}
    assert {name: names for name, names in exported.items() if names is not None} == PUBLIC


def test_each_of_them_is_there() -> None:
    for package, names in PUBLIC.items():
        module = importlib.import_module(package)
        assert [name for name in names if not hasattr(module, name)] == [], package
