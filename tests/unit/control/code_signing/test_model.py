"""The stored form of code signing configurations."""

import json

import pytest

from hanabi.control.code_signing.model import CodeSigningConfig, config_document, read_config

ID = "csc-0123456789abcdefg"


def test_what_is_written_is_read() -> None:
    config = CodeSigningConfig(id=ID, publishers=("a", "b"), modified_ms=7, description="d", policy="Enforce", tags={"k": "v"})
    assert read_config(ID, json.loads(json.dumps(config_document(config))), {}) == config


@pytest.mark.parametrize(
    ("id", "changes", "message"),
    [
        ("csc-1", {}, "of no code signing configuration"),
        (ID, {"policy": "Perhaps"}, "has the policy"),
        (ID, {"publishers": [1]}, "publishers that are no ARNs"),
        (ID, {"unheard": 1}, "does not know"),
    ],
)
def test_what_cannot_be_is_refused(id: str, changes: dict[str, object], message: str) -> None:
    document = {"publishers": ["a"], "modified_ms": 7} | changes
    with pytest.raises(ValueError, match=message):
        read_config(id, document, {})
