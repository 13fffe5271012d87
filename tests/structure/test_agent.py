"""The agent's C files: each has its header, none uses one that uses it, and docs/architecture.md shows which uses which."""

import re
from graphlib import CycleError

import pytest

from tests.structure.agent import BEGIN, END, PAGE, SHARED, SOURCES, code, declared, files, graph, includes, layers, types, words, written

MAIN = "main"
CEILING = 260  # lines of a file


def test_no_circle() -> None:
    assert layers(graph())[-1] == [MAIN]


def test_a_circle_would_be_found() -> None:
    circle = {**graph(), "loop": {"flow"}}
    with pytest.raises(CycleError):
        layers(circle)


def test_each_file_has_a_header_of_its_name_and_declares_nothing_else() -> None:
    headers = {path.stem for path in SOURCES.glob("*.h")}
    assert headers == {*files(), SHARED} - {MAIN}
    assert [file for file in files() if file != MAIN and file not in includes(f"{file}.c")] == []
    declarations = {
        file: re.findall(r"^extern .*|^(?!static|typedef|struct|enum|union)\w[^={}\n]*\);$", code(f"{file}.c"), re.MULTILINE)
        for file in files()
    }
    assert {file: found for file, found in declarations.items() if found} == {}


def test_what_a_header_declares_its_file_defines() -> None:
    for file in set(files()) - {MAIN}:
        functions = set(re.findall(r"\b(\w+)\([^;{]*\);", code(f"{file}.h")))
        defined = set(re.findall(r"^(?!static)\w[^;=\n]*?\b(\w+)\([^;]*?\) \{", code(f"{file}.c"), re.MULTILINE))
        assert functions == defined - {MAIN}, file


def test_no_include_without_use() -> None:
    unused = [
        f"{name} includes {header}.h"
        for path in [*SOURCES.glob("*.c"), *SOURCES.glob("*.h")]
        for name in [path.name]
        for header in includes(name) - {path.stem}
        if not (declared(header) | types(header)) & words(name) and header != SHARED
    ]
    assert unused == []


def test_what_is_used_is_included() -> None:
    """By the file or its own header, not by way of another one: so the graph has every edge."""
    missing = [
        f"{file}.c uses {', '.join(sorted(used))} of {header}.h"
        for file in files()
        for header in set(files()) - {MAIN, file} - graph()[file]
        if (used := declared(header) & words(f"{file}.c"))
    ]
    assert missing == []


def test_the_page_shows_who_uses_whom() -> None:
    text = PAGE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert text == written(), "run: python -m tests.structure.agent"


def test_files_are_small() -> None:
    sizes = {file: len((SOURCES / f"{file}.c").read_text().splitlines()) for file in files()}
    assert {file: size for file, size in sizes.items() if size > CEILING} == {}
