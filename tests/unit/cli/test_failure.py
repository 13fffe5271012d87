"""What AWS's errors become on a command line."""

import argparse

import pytest
from botocore.exceptions import ClientError

from hanabi.cli.failure import explain

NAME = r"(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
WORDS = "it has a character or a form that is not allowed"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"Value 'a b' at 'f' {{}}: Member must satisfy regular expression pattern: {NAME}", f"Value 'a b' at 'f' {{}}: {WORDS}"),
        (
            f"Value 'a b' at 'f' {{}}: Member must satisfy regular expression pattern: {NAME}; Value '1' at 'm' {{}}: Member must be 2",
            f"Value 'a b' at 'f' {{}}: {WORDS}; Value '1' at 'm' {{}}: Member must be 2",
        ),
        (
            "Value '{A-B=1}' at 'v' {}: Map keys must satisfy constraint: "
            "[Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+, Member must be long]",
            f"Value '{{A-B=1}}' at 'v' {{}}: names: {WORDS}, Member must be long",
        ),
        (
            "Value 'a' at 'b' {}: Member must satisfy regular expression pattern: [0-9]]; "
            "Value '[x]' at 'l' {}: Member must satisfy constraint: "
            "[Member must be long, Member must satisfy regular expression pattern: [b]+]",
            f"Value 'a' at 'b' {{}}: {WORDS}; Value '[x]' at 'l' {{}}: Member must satisfy constraint: Member must be long, {WORDS}",
        ),
    ],
)
def test_no_regular_expression_is_shown_to_people(said: str, told: str) -> None:
    said, told = (f"1 validation error detected: {text.replace('{}', 'failed to satisfy constraint')}" for text in (said, told))
    error = ClientError({"Error": {"Code": "ValidationException", "Message": said}}, "Any")
    assert str(explain(error, argparse.Namespace())) == f"ValidationException: {told}"
