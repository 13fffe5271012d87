"""State machines are tables whose diagrams in docs/architecture.md are the code's."""

from tests.structure.states import PAGE, page, tables


def test_the_diagrams_are_the_code_s() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.structure.states"


def test_every_state_of_every_table_can_be_reached() -> None:
    assert tables()
    for path, table in tables():
        assert table.reachable == set(table.transitions), path
