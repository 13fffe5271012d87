"""Regular expressions of filter patterns: the documentation's examples, and Python's as the other opinion."""

import random
import re

import pytest

from hanabi.ledger.patterns.regex import ITEMS, Regex
from hanabi.ledger.patterns.scanner import InvalidPattern


@pytest.mark.parametrize(
    ("expression", "matched", "unmatched"),
    [
        ("AUTHORIZED", ["[ERROR 401] UNAUTHORIZED REQUEST", "[SUCCESS 200] AUTHORIZED REQUEST"], ["authorized"]),
        ("^[hc]at", ["hat", "cats"], ["that", "a cat"]),
        ("[hc]at$", ["hat", "that", "a cat\n"], ["cats"]),
        ("colou?r", ["color", "colour"], ["colouur"]),
        ("[abcx-z]", ["a", "y"], ["d", "w"]),
        ("^a{3,5}$", ["aaa", "aaaa", "aaaaa"], ["aa", "aaaaaa"]),
        ("^a{2,}$", ["aa", "a" * 50], ["a"]),
        ("^a{,2}$", ["", "aa"], ["aaa"]),
        ("^a{2}$", ["aa"], ["a", "aaa"]),
        ("gra|ey", ["gray", "grey"], ["gry"]),
        (
            "^starting|^initializing|^shutting down",
            ["starting ...", "shutting down"],
            ["skipping initializing ..."],
        ),
        ("abcc|ab[^c]$", ["abcc ...", "aba"], ["aac ...", "abc"]),
        (r"\[.\]", ["[a]", "[@]", "[]]", "[ ]"], ["[]", "ab"]),
        (r"10\.10\.0\.1", ["10.10.0.1"], ["10010,051"]),
        ("10.10.0.1", ["10010,051"], []),
        ("ab*c", ["ac", "abc", "abbbc"], ["bc"]),
        ("ab[0-9]*", ["ab", "ab129"], ["a"]),
        ("ab+c", ["abc", "abbbc"], ["ac"]),
        (".at", ["hat", "#at", " at"], ["at", "\nat"]),
        (r"\d\D\s\S\w\W", ["1a b_-"], ["1a b--"]),
        (r"\x3A\x28", ["a:("], [":"]),
        ("}$", ['{"Message": Success}'], ["} no"]),
        ("a{b", ["a{b"], ["ab"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[^]a]", ["b"], ["]a"]),
        (r"[\]\-\d]", ["]", "-", "7"], ["x"]),
        ("[a-]", ["-"], ["b"]),
        (".", ["ü"], [""]),
        ("[^a]", ["ü"], ["a"]),
        ("", ["", "anything"], []),
        ("a|", ["b"], []),
        ("^$", ["", "\n"], ["a"]),
    ],
)
def test_examples(expression: str, matched: list[str], unmatched: list[str]) -> None:
    regex = Regex(expression)
    assert [text for text in matched if not regex.matches(text)] == []
    assert [text for text in unmatched if regex.matches(text)] == []


@pytest.mark.parametrize(
    "expression",
    [
        *("something!", "(a|b)", "größe", "[a", "*a", "a**", "+", "?", "a|*", "a^b", "a$b", "^^a", "\\", "\\q", "\\x4", "\\xff", "[z-a]"),
        *("a{3,2}", "[(]", f"a{{{ITEMS + 1}}}", "a{600}b{600}", 'say "hi"'),
    ],
)
def test_refusals(expression: str) -> None:
    with pytest.raises(InvalidPattern):
        Regex(expression)


def test_it_agrees_with_another_engine() -> None:
    rng = random.Random(11)
    pieces = ["a", "b", "c", ".", "[ab]", "[^a]", "[b-c]", r"\w", r"\d", " "]
    for _ in range(1_500):
        alternatives = []
        for _ in range(rng.randrange(1, 4)):
            body = "".join(
                rng.choice(pieces) + rng.choice(["", "", "", "?", "*", "+", "{2}", "{0,2}", "{1,}"]) for _ in range(rng.randrange(5))
            )
            alternatives.append(rng.choice(["", "", "^"]) + body + rng.choice(["", "", "$"]))
        expression = "|".join(alternatives)
        regex, other = Regex(expression), re.compile(expression, re.ASCII)
        for _ in range(20):
            text = "".join(rng.choice("abc1 \n") for _ in range(rng.randrange(8)))
            assert regex.matches(text) == (other.search(text) is not None), (expression, text)
