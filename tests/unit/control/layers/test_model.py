"""Layers as values, and as documents."""

from dataclasses import replace
from typing import Any

import pytest

from hanabi.control.layers.model import Layer, LayerVersion, changed_versions, layer_document, read_layer


def version(number: int, **changes: Any) -> LayerVersion:
    return LayerVersion(number=number, sha256="", size=1, unzipped_size=2, created_ms=3, **changes)


LAYER = Layer(name="a").with_version(version(1, runtimes=("java8",), policy=({"Sid": "s"},))).with_version(version(2))


def test_documents_hold_all_of_it() -> None:
    documents = changed_versions(None, LAYER)
    assert read_layer("a", layer_document(LAYER), documents) == LAYER  # type: ignore[arg-type]
    assert read_layer("a", {"last_version": 4, "versions": []}, {}) == Layer(name="a", last_version=4)


def test_only_what_changed_is_written() -> None:
    other = LAYER.without_version(1).with_version(replace(LAYER.versions[2], description="new"))
    changed = changed_versions(LAYER, other)
    assert changed.keys() == {"1", "2"} and changed["1"] is None
    assert changed_versions(LAYER, LAYER) == {}
    assert other.last_version == 2 and LAYER.without_version(9) is LAYER
    assert changed_versions(LAYER, None) == {"1": None, "2": None}


def test_the_latest_that_matches() -> None:
    assert LAYER.latest_matching() == LAYER.versions[2]
    assert LAYER.latest_matching(runtime="java8") == LAYER.versions[1]
    assert LAYER.latest_matching(architecture="arm64") is None


@pytest.mark.parametrize(
    ("name", "document", "problem"),
    [
        ("a/b", {"last_version": 0, "versions": []}, "is of no layer that can be"),
        ("a", {"last_version": 0, "versions": "1"}, "versions that are no list"),
        ("a", {"last_version": 2, "versions": [2, 1]}, "not in order"),
        ("a", {"last_version": 1, "versions": [1, 2]}, "last_version that is not the last"),
        ("a", {"last_version": 9, "versions": [9]}, "layer-versions/a/9 is gone"),
        ("a", {"last_version": 2, "versions": [], "more": 1}, "does not know: 'more'"),
    ],
)
def test_damaged_documents_are_refused(name: str, document: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_layer(name, document, changed_versions(None, LAYER))  # type: ignore[arg-type]


def test_damaged_versions_are_refused() -> None:
    documents: Any = changed_versions(None, LAYER)
    for changes, problem in (({"number": 3}, "has the number 3"), ({"policy": [{}]}, "without a Sid"), ({"size": "1"}, "wrong type")):
        with pytest.raises(ValueError, match=problem):
            read_layer("a", layer_document(LAYER), {**documents, "1": documents["1"] | changes})
