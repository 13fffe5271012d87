"""The house as docs/architecture.md draws it: who may import whom, how large a module may be, what no file may name."""

import ast
import re
import statistics

import pytest

from tests.structure.imports import FREE, PAGE, circles, module_graph, page, room_graph
from tests.structure.sources import ROOT, dotted, modules, room_of, tracked

CEILING = 500  # lines of a module
# Whatever breaks the direction of the map today. It only ever gets shorter.
KNOWN_CIRCLES: list[list[str]] = []
KNOWN_MODULE_CIRCLES: list[list[str]] = []


def test_the_import_table_is_the_code_s() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.structure.imports"


def test_imports_make_no_circle() -> None:
    assert circles(room_graph()) == KNOWN_CIRCLES
    assert circles(module_graph()) == KNOWN_MODULE_CIRCLES


def test_what_all_may_import_imports_no_room() -> None:
    graph = module_graph()
    for module, targets in graph.items():
        if module != "hanabi" and room_of(module) in FREE:
            assert {room_of(each) for each in targets if each != "hanabi"} <= set(FREE), module
    assert not graph["hanabi.errors"]


def test_nobody_imports_a_private_name_of_another_module() -> None:
    private = [
        f"{dotted(path)} imports {node.module}.{alias.name}"
        for path in modules("hanabi")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert private == []


def test_modules_are_small(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {dotted(path): len(path.read_text().splitlines()) for path in modules("hanabi", "guest", "tests", "bench")}
    own = [size for module, size in sizes.items() if module.startswith("hanabi")]
    with capsys.disabled():
        largest = max(sizes, key=lambda module: sizes[module])
        print(f"\nhanabi: {len(own)} modules, {sum(own)} lines, median {statistics.median(own):.0f}; largest {largest}, {sizes[largest]}")
    assert {module: size for module, size in sizes.items() if size > CEILING} == {}


def test_every_module_says_its_job() -> None:
    silent = [dotted(path) for path in modules("hanabi", "guest", "tests", "bench") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the user's own setting."""
    hosts = re.compile(
        r"(pypi|pythonhosted|npmjs|registry\.yarnpkg|proxy\.golang|crates)\.(org|com|io)|--(extra-)?index-url|deb\.debian\.org"
    )
    found = []
    for path in tracked():
        if path == ROOT / "tests" / "structure" / "test_structure.py":
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in hosts.finditer(text)]
    assert found == []


def test_the_wheel_carries_all_that_runs_inside() -> None:
    """`guest/agent` is carried built, the rest as it is."""
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    carried = {path for patterns in listed.values() for pattern in patterns for path in ROOT.glob(pattern)}
    inside = {
        path for path in tracked() if path.relative_to(ROOT).parts[0] == "guest" and path.relative_to(ROOT).parts[1] in ("python", "node")
    }
    assert inside - carried == set()
    for target, patterns in listed.items():
        for path in (found for pattern in patterns for found in ROOT.glob(pattern)):
            assert target == f"share/hanabi/{path.parent.relative_to(ROOT)}"


def test_the_locks_carry_hashes() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    assert [lock.stem for lock in locks] == ["dev", "run", "zig"]
    for lock in locks:
        lines = lock.read_text().splitlines()
        pinned = [index for index, line in enumerate(lines) if re.match(r"[a-z0-9-]+==", line)]
        assert pinned, lock
        assert all(lines[index + 1].strip().startswith("--hash=sha256:") for index in pinned), lock


def test_the_examples_are_described() -> None:
    readme = (ROOT / "examples" / "README.md").read_text()
    assert all(f"`{folder.name}`" in readme for folder in (ROOT / "examples").iterdir() if folder.is_dir())


def test_the_compatibility_page_is_current() -> None:
    from tests.structure import compatibility

    assert compatibility.PAGE.read_text() == compatibility.page(), "run: python -m tests.structure.compatibility"


def test_the_security_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert named
    assert [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_the_durability_page_names_tests_that_exist() -> None:
    rows = (ROOT / "docs" / "durability.md").read_text().partition("| what happens |")[2].splitlines()[2:]
    cells = [row.split(" | ") for row in rows if row.startswith("|")]
    assert [row for row in cells if len(row) != 3] == []
    named = [found for row in cells for found in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2])]
    assert len(named) >= len(cells)
    assert [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()] == []


def test_every_attack_says_what_it_meets_in_a_microvm() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    table = page.partition("| attack |")[2].partition("\n\n")[0].splitlines()[2:]
    assert [row for row in table if len(row.split(" | ")) != 4 or not row.split(" | ")[3].strip(" |")] == []
