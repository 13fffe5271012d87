"""Declared runtimes and architectures; AWS's words are tested through the API in tests/unit/services/lambda_/test_layers.py."""

from typing import Any

import pytest

from hanabi.control.layers.compatibility import RUNTIMES, check_declared, check_filter
from hanabi.edge.protocols.model import load
from hanabi.errors import ValidationError


def test_every_runtime_of_the_model_may_be_declared() -> None:
    shape: Any = load("lambda").operation("PublishLayerVersion").input_shape
    assert set(shape.members["CompatibleRuntimes"].member.enum) == RUNTIMES
    check_declared({"CompatibleRuntimes": ["go1.x", "java8"], "CompatibleArchitectures": ["arm64", "x86_64"]})
    check_declared({})


@pytest.mark.parametrize(("member", "said"), [("CompatibleRuntimes", "[cobol, null]"), ("CompatibleArchitectures", "[cobol, null]")])
def test_others_may_not(member: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_declared({member: ["cobol", None]})
    assert str(caught.value).startswith("1 validation error detected: ") and said in str(caught.value)


def test_filters() -> None:
    assert [check_filter(None), check_filter("java8"), check_filter("nasa")] == [None, "java8", "nasa"]
    with pytest.raises(ValidationError):
        check_filter("cobol")
