"""Regular expressions of filter patterns, `%...%`: an automaton takes a step for each character, whatever the expression is.

There are no groups. So an expression is alternatives, each a row of items, and an item is a set of characters, perhaps optional, perhaps
repeated. The places between the items of all alternatives are the bits of one integer, and where a text may be in them is the set of bits.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/regex-expressions.html
"""

from dataclasses import dataclass, field, replace
from string import ascii_letters, digits, hexdigits

from hanabi.ledger.patterns.scanner import InvalidPattern

ITEMS = 1_000  # of an expression, where `a{3}` counts as three: what an integer's bits are for
NODES = 256  # sets of places that are remembered with their steps
STEPS = 8_192  # that are remembered

_LITERAL = frozenset(ascii_letters + digits + ":_#=@/;,- ")
_OPERATORS = frozenset("^$?[]{}|\\*+.")
_ALL = (1 << 128) - 1  # of ASCII


@dataclass(frozen=True, slots=True)
class Characters:
    """A set of characters: bits of ASCII, and whether all others are in it."""

    ascii: int
    others: bool = False

    def __or__(self, other: "Characters") -> "Characters":
        return Characters(self.ascii | other.ascii, self.others or other.others)

    def __invert__(self) -> "Characters":
        return Characters(_ALL & ~self.ascii, not self.others)

    @property
    def single(self) -> str:
        """The only character in the set; "" when there are more."""
        return "" if self.others or self.ascii.bit_count() != 1 else chr(self.ascii.bit_length() - 1)


def _set_of(characters: str) -> Characters:
    return Characters(sum(1 << ord(each) for each in set(characters)))


_ANY = ~_set_of("\n")
_CLASSES = {"d": _set_of(digits), "s": _set_of(" \t\n\r\f\v"), "w": _set_of(ascii_letters + digits + "_")}


@dataclass(frozen=True, slots=True)
class Item:
    characters: Characters
    optional: bool = False
    repeated: bool = False


@dataclass(slots=True)
class Alternative:
    items: list[Item] = field(default_factory=list)
    at_start: bool = False
    at_end: bool = False

    @property
    def literal(self) -> str:
        """The longest string that every match of it contains."""
        best = run = ""
        for item in self.items:
            single = "" if item.optional else item.characters.single
            run = run + single if single else ""
            best = max(best, run, key=len)
            if item.repeated:
                run = single
        return best


# --- parsing ----------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._items = 0

    def parse(self) -> list[Alternative]:
        alternatives = [Alternative()]
        while self._position < len(self._text):
            now = alternatives[-1]
            character = self._take()
            if character == "|":
                alternatives.append(Alternative())
            elif now.at_end:
                raise InvalidPattern()  # nothing follows an end
            elif character == "^":
                if now.items or now.at_start:
                    raise InvalidPattern()
                now.at_start = True
            elif character == "$":
                now.at_end = True
            else:
                self._add(now, self._characters(character))
        return alternatives

    def _take(self) -> str:
        character = self._text[self._position : self._position + 1]
        self._position += 1
        return character

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _characters(self, character: str) -> Characters:
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character == ".":
            return _ANY
        if character in ("?", "*", "+"):
            raise InvalidPattern()  # nothing to repeat
        if character not in _LITERAL and character not in _OPERATORS:
            raise InvalidPattern(f"Invalid character(s) in term '{character}'")
        return _set_of(character)

    def _escape(self) -> Characters:
        character = self._take()
        if character.lower() in _CLASSES:
            found = _CLASSES[character.lower()]
            return ~found if character.isupper() else found
        if character == "x":
            code = self._take() + self._take()
            if len(code) != 2 or not all(each in hexdigits for each in code) or int(code, 16) >= 128:
                raise InvalidPattern()
            return _set_of(chr(int(code, 16)))
        if character in ("n", "t", "r", "f"):
            return _set_of({"n": "\n", "t": "\t", "r": "\r", "f": "\f"}[character])
        if not character or character.isalnum() or not character.isascii():
            raise InvalidPattern()
        return _set_of(character)

    def _class(self) -> Characters:
        """Parse `[a-z_]` or `[^a-z]`. A `]` is a character where it comes first."""
        inverted = self._peek() == "^"
        if inverted:
            self._position += 1
        found = Characters(0)
        first = True
        while first or self._peek() != "]":
            first = False
            character = self._take()
            if not character:
                raise InvalidPattern()
            one = self._escape() if character == "\\" else self._member(character)
            if self._peek() == "-" and self._text[self._position + 1 : self._position + 2] not in ("]", "") and one.single:
                self._position += 1
                character = self._take()
                last = self._escape() if character == "\\" else self._member(character)
                if not last.single or last.single < one.single:
                    raise InvalidPattern()
                one = Characters(sum(1 << code for code in range(ord(one.single), ord(last.single) + 1)))
            found |= one
        self._position += 1
        return ~found if inverted else found

    def _member(self, character: str) -> Characters:
        if character not in _LITERAL and character not in _OPERATORS:
            raise InvalidPattern(f"Invalid character(s) in term '{character}'")
        return _set_of(character)

    def _add(self, to: Alternative, characters: Characters) -> None:
        """Add the items of a character, with what follows it: `?`, `*`, `+` or `{m,n}`."""
        least, most = self._times()
        self._items += max(least, most or 0, 1)
        if self._items > ITEMS:
            raise InvalidPattern()
        item = Item(characters)
        to.items += [item] * least
        if most is not None:
            to.items += [replace(item, optional=True)] * (most - least)
        elif least:
            to.items[-1] = replace(item, repeated=True)
        else:
            to.items.append(replace(item, optional=True, repeated=True))

    def _times(self) -> tuple[int, int | None]:
        """Parse how often: (at least, at most), the latter None without an end."""
        simple = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(self._peek())
        if simple is not None:
            self._position += 1
            return simple
        end = self._text.find("}", self._position)
        inside = self._text[self._position + 1 : end] if self._peek() == "{" and end > 0 else ""
        least, comma, most = (part.strip() for part in inside.partition(","))
        if not inside or not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in (least, most) if part):
            return 1, 1
        if not least and not most:
            return 1, 1
        self._position = end + 1
        low = int(least or 0)
        high = (int(most) if most else None) if comma else low
        if high is not None and high < low:
            raise InvalidPattern()
        return low, high


# --- matching ---------------------------------------------------------------------------------------------------------


class _Node:
    """A set of places, with the steps from it that were taken before."""

    __slots__ = ("at_end", "bits", "found", "steps")

    def __init__(self, bits: int, found: bool, at_end: bool) -> None:
        self.bits = bits
        self.found = found  # a match ends here
        self.at_end = at_end  # a match ends here if the text does
        self.steps: dict[str, _Node] = {}


class Regex:
    """An expression. Raises `InvalidPattern`."""

    def __init__(self, text: str) -> None:
        alternatives = _Parser(text).parse()
        literals = [each.literal for each in alternatives]
        self._literals = literals if all(literals) else []
        self._enter = [0] * 129  # of each ASCII character, and last of all others: the places that an item leads to which takes it
        self._repeat = self._begin = self._begin_at_start = self._end = self._end_at_end = 0
        skip = 0  # places before an optional item
        place = 0
        for each in alternatives:
            self._begin |= 0 if each.at_start else 1 << place
            self._begin_at_start |= 1 << place
            for item in each.items:
                skip |= item.optional << place
                place += 1
                self._repeat |= item.repeated << place
                self._add(item.characters, 1 << place)
            self._end |= 0 if each.at_end else 1 << place
            self._end_at_end |= 1 << place
            place += 1
        self._skips = [skip]  # entry k: places from which 2**k items may be skipped
        while (1 << len(self._skips)) <= place:
            far = self._skips[-1]
            self._skips.append(far & far >> (1 << len(self._skips) - 1))
        self._begin = self._close(self._begin)
        self._nodes: dict[int, _Node] = {}
        self._count = 0
        self._first = self._node(self._close(self._begin_at_start))

    def matches(self, text: str) -> bool:
        """Whether the expression is found in a text. `$` is its end, too, before a line break that ends it."""
        if self._literals and not any(literal in text for literal in self._literals):
            return False
        node = self._first
        end = len(text) - 1 if text.endswith("\n") else -1
        for index, character in enumerate(text):
            if node.found or (index == end and node.at_end):
                return True
            following = node.steps.get(character)
            node = following if following is not None else self._step(node, character)
            if not node.bits:
                return False  # only beginnings could begin, and none has
        return node.found or node.at_end

    def _add(self, characters: Characters, place: int) -> None:
        for code in range(128):
            if characters.ascii >> code & 1:
                self._enter[code] |= place
        if characters.others:
            self._enter[128] |= place

    def _close(self, bits: int) -> int:
        """Add the places behind optional items."""
        for power, skip in enumerate(self._skips):
            bits |= (bits & skip) << (1 << power)
        return bits

    def _step(self, node: _Node, character: str) -> _Node:
        bits = (node.bits << 1 | node.bits & self._repeat) & self._enter[min(ord(character), 128)]
        if self._count >= STEPS or len(self._nodes) >= NODES:
            self._nodes = {}
            self._count = 0
            self._first.steps = {}
        following = self._node(self._close(bits) | self._begin)
        node.steps[character] = following
        self._count += 1
        return following

    def _node(self, bits: int) -> _Node:
        known = self._nodes.get(bits)
        if known is None:
            known = self._nodes[bits] = _Node(bits, bool(bits & self._end), bool(bits & self._end_at_end))
        return known
