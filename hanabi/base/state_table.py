"""State machines as tables: states x events -> states, the one function that moves, and the diagram of a table for the documentation."""

from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar


class TableEnum(Enum):
    """An Enum for states and events. It hashes by identity, so that a look-up in a table calls no Python code."""

    __hash__ = object.__hash__


State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


class IllegalTransition(AssertionError):
    """An event that a state does not allow: a bug in Hanabi, where no input can cause it."""


class StateTable(Generic[State, Event]):
    """All transitions of one machine. A state without outgoing transitions is final; it may be missing in `transitions`.

    `transitions` may be read directly where each call counts: `table.transitions[state].get(event)`.
    """

    def __init__(self, title: str, initial: State, transitions: Mapping[State, Mapping[Event, State]]) -> None:
        self.title = title
        self.initial = initial
        self.transitions: dict[State, dict[Event, State]] = {state: dict(transitions.get(state, {})) for state in type(initial)}
        self.ends = frozenset(state for state, after in self.transitions.items() if not set(after.values()) - {state})

    def advance(self, state: State, event: Event) -> State:
        """The state after an event. Raises `IllegalTransition`."""
        after = self.transitions[state].get(event)
        if after is None:
            raise IllegalTransition(f"{self.title}: {event.name} while {state.name}")
        return after

    def allows(self, state: State, event: Event) -> bool:
        return event in self.transitions[state]

    @property
    def reachable(self) -> frozenset[State]:
        """The states that can be reached from the first one; in a sound table these are all."""
        seen, todo = {self.initial}, [self.initial]
        while todo:
            new = set(self.transitions[todo.pop()].values()) - seen
            seen |= new
            todo += new
        return frozenset(seen)

    def diagram(self) -> str:
        """The table as a Mermaid state diagram. Transitions that all but final states have to one target are drawn once, from `any`."""
        common = self._common()
        lines = ["stateDiagram-v2", f"    [*] --> {_word(self.initial)}"]
        for state, after in self.transitions.items():
            labels: dict[State, list[str]] = {}
            for event, target in after.items():
                if common.get(event) is not target:
                    labels.setdefault(target, []).append(_words(event))
            lines += [f"    {_word(state)} --> {_word(target)}: {', '.join(events)}" for target, events in labels.items()]
        lines += [f"    any --> {_word(target)}: {_words(event)}" for event, target in common.items()]
        lines += [f"    {_word(state)} --> [*]" for state in self.transitions if state in self.ends]
        return "\n".join(["```mermaid", *lines, "```", ""])

    def _common(self) -> dict[Event, State]:
        """Event -> its one target, of the events that lead to the same state from every state that does not end."""
        leaving = [state for state in self.transitions if state not in self.ends]
        if len(leaving) < 3:
            return {}
        first = self.transitions[leaving[0]]
        return {event: target for event, target in first.items() if all(self.transitions[each].get(event) is target for each in leaving)}


def _word(state: Enum) -> str:
    return state.name.lower()


def _words(event: Enum) -> str:
    return event.name.lower().replace("_", " ")
