"""A table moves as it says, refuses the rest, and draws itself."""

from enum import auto

import pytest

from hanabi.base.state_table import IllegalTransition, StateTable, TableEnum


class Door(TableEnum):
    OPEN = auto()
    SHUT = auto()
    LOCKED_TWICE = auto()
    GONE = auto()


class Act(TableEnum):
    PUSH = auto()
    TURN_KEY = auto()
    BURN = auto()


TABLE: StateTable[Door, Act] = StateTable(
    "door",
    Door.OPEN,
    {
        Door.OPEN: {Act.PUSH: Door.SHUT, Act.BURN: Door.GONE},
        Door.SHUT: {Act.PUSH: Door.OPEN, Act.TURN_KEY: Door.LOCKED_TWICE, Act.BURN: Door.GONE},
        Door.LOCKED_TWICE: {Act.TURN_KEY: Door.SHUT, Act.BURN: Door.GONE},
    },
)


def test_it_moves_as_it_says() -> None:
    assert TABLE.advance(Door.OPEN, Act.PUSH) is Door.SHUT
    assert TABLE.allows(Door.SHUT, Act.TURN_KEY)
    assert not TABLE.allows(Door.OPEN, Act.TURN_KEY)
    assert TABLE.reachable == set(Door)
    assert TABLE.ends == {Door.GONE}


def test_it_refuses_what_it_does_not_have() -> None:
    with pytest.raises(IllegalTransition, match="door: TURN_KEY while OPEN"):
        TABLE.advance(Door.OPEN, Act.TURN_KEY)
    with pytest.raises(IllegalTransition, match="BURN while GONE"):
        TABLE.advance(Door.GONE, Act.BURN)


def test_what_cannot_be_reached_is_seen() -> None:
    assert StateTable("stuck", Door.OPEN, {Door.OPEN: {Act.PUSH: Door.OPEN}}).reachable == {Door.OPEN}


def test_its_diagram() -> None:
    assert TABLE.diagram().splitlines() == [
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> open",
        "    open --> shut: push",
        "    shut --> open: push",
        "    shut --> locked_twice: turn key",
        "    locked_twice --> shut: turn key",
        "    any --> gone: burn",
        "    gone --> [*]",
        "```",
    ]


def test_members_hash_by_identity() -> None:
    assert hash(Door.OPEN) == object.__hash__(Door.OPEN)
    assert {Door.OPEN: 1}[Door["OPEN"]] == 1
