"""JSON values of the wrong type, in AWS's words."""

from typing import Any

import pytest
from botocore.model import ServiceModel

from hanabi.edge.protocols.shapes import JsonShapes
from hanabi.errors import SerializationError

SHAPES = {
    "Input": {
        "type": "structure",
        "members": {
            "Text": {"shape": "Text"},
            "Count": {"shape": "Count"},
            "Size": {"shape": "Size"},
            "Share": {"shape": "Share"},
            "Flag": {"shape": "Flag"},
            "Bytes": {"shape": "Bytes"},
            "Texts": {"shape": "Texts"},
            "Pairs": {"shape": "Pairs"},
            "Self": {"shape": "Input"},
            "Selves": {"shape": "Selves"},
        },
    },
    "Text": {"type": "string"},
    "Count": {"type": "integer"},
    "Size": {"type": "long"},
    "Share": {"type": "double"},
    "Flag": {"type": "boolean"},
    "Bytes": {"type": "blob"},
    "Texts": {"type": "list", "member": {"shape": "Text"}},
    "Pairs": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Text"}},
    "Selves": {"type": "list", "member": {"shape": "Input"}},
}
MODEL = ServiceModel({"metadata": {"protocol": "json"}, "operations": {}, "shapes": SHAPES}, "s")
PARSE = JsonShapes().parser(MODEL.shape_for("Input"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"Text": 1}, "NUMBER_VALUE can not be converted to a String"),
        ({"Text": True}, "TRUE_VALUE can not be converted to a String"),
        ({"Text": False}, "FALSE_VALUE can not be converted to a String"),
        ({"Text": []}, "Start of list found where not expected"),
        ({"Text": {}}, "Start of structure or map found where not expected."),
        ({"Count": "1"}, "STRING_VALUE can not be converted to an Integer"),
        ({"Size": "1"}, "STRING_VALUE can not be converted to a Long"),
        ({"Flag": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        ({"Share": "1"}, "STRING_VALUE can not be converted to a Double"),
        ({"Share": 10**400}, "NUMBER_VALUE can not be converted to a Double"),
        ({"Texts": "a"}, "Expected list or null"),
        ({"Texts": {"a": 1}}, "Start of structure or map found where not expected."),
        ({"Texts": [1]}, "NUMBER_VALUE can not be converted to a String"),
        ({"Pairs": "a"}, "Expected map or null"),
        ({"Pairs": []}, "Start of list found where not expected"),
        ({"Self": "a"}, "Expected null"),
        ({"Self": []}, "Start of list found where not expected"),
        ({"Selves": ["a"]}, "Expected null"),
        ([], "Start of list found where not expected"),
        (None, "Unexpected field type"),
    ],
)
def test_values_of_the_wrong_type(document: Any, message: str) -> None:
    with pytest.raises(SerializationError) as caught:
        PARSE(document)
    assert caught.value.message == message


def test_half_a_character_becomes_a_question_mark() -> None:
    document = {"Text": "é\ud800", "Texts": ["\udfff", "é"], "Pairs": {"\ud800": "a"}}
    assert PARSE(document) == {"Text": "é?", "Texts": ["?", "é"], "Pairs": {"?": "a"}}


def test_nulls_and_unknown_members_are_dropped() -> None:
    assert PARSE({"Text": None, "Nothing": 1, "Texts": [None, "a"], "Count": 2.0}) == {"Texts": [None, "a"], "Count": 2}
