"""Layers and their versions as immutable values, and their stored form."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hanabi.contracts.store import Document
from hanabi.control.values import build, need

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,140}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersion:
    number: int
    sha256: str  # of the zip, base64, by which the code store has it
    size: int  # of the zip, bytes
    unzipped_size: int  # bytes
    created_ms: int
    description: str = ""
    license: str | None = None
    runtimes: tuple[str, ...] | None = None  # None: never given, which the API shows
    architectures: tuple[str, ...] | None = None
    policy: tuple[Mapping[str, Any], ...] = ()  # statements
    policy_revision: str = ""  # RevisionId of the policy
    object: Mapping[str, str] | None = None  # a ResolvedS3Object: of a layer that refers to S3

    def matches(self, runtime: str | None, architecture: str | None) -> bool:
        """Whether lists with these filters have it."""
        return (not runtime or runtime in (self.runtimes or ())) and (not architecture or architecture in (self.architectures or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer. It stays when its last version is deleted: numbers are never used twice."""

    name: str
    last_version: int = 0
    versions: Mapping[int, LayerVersion] = field(default_factory=dict)  # by number, in order

    def with_version(self, version: LayerVersion) -> "Layer":
        """Return it with a version added or replaced."""
        return replace(self, last_version=max(self.last_version, version.number), versions={**self.versions, version.number: version})

    def without_version(self, number: int) -> "Layer":
        if number not in self.versions:
            return self
        return replace(self, versions={other: version for other, version in self.versions.items() if other != number})

    def latest_matching(self, runtime: str | None = None, architecture: str | None = None) -> LayerVersion | None:
        return next((version for version in self.newest_first() if version.matches(runtime, architecture)), None)

    def newest_first(self) -> list[LayerVersion]:
        return list(self.versions.values())[::-1]


def layer_document(layer: Layer) -> Document:
    """Make the document of a layer. Versions have their own documents; their numbers are listed here."""
    return {"last_version": layer.last_version, "versions": list(layer.versions)}


def changed_versions(old: Layer | None, new: Layer | None) -> Mapping[str, Document | None]:
    """Make the documents of versions that differ, by number; None: it is gone."""
    before, after = old.versions if old else {}, new.versions if new else {}
    changed: dict[str, Document | None] = {str(number): None for number in before.keys() - after.keys()}
    return changed | {str(number): asdict(version) for number, version in after.items() if version is not before.get(number)}


def read_layer(name: str, document: Document, versions: Mapping[str, Document]) -> Layer:
    """Read a layer. Raises `ValueError` with what is wrong."""
    need(bool(_NAME.fullmatch(name)), "is of no layer that can be")
    numbers = document["versions"]
    need(isinstance(numbers, list) and all(type(number) is int for number in numbers), "has versions that are no list of numbers")
    need(numbers == sorted(set(numbers)), "has versions that are not in order")
    found = {}
    for number in numbers:
        need(str(number) in versions, f"names version {number}, and the document layer-versions/{name}/{number} is gone, or damaged")
        found[number] = _read_version(versions[str(number)], number)
    layer = build(Layer, {**document, "name": name, "versions": found}, "it")
    need(layer.last_version >= max(numbers, default=0), "has a last_version that is not the last")
    return layer


def _read_version(document: Document, number: int) -> LayerVersion:
    lists = {member: tuple(document[member]) for member in ("runtimes", "architectures", "policy") if document.get(member) is not None}
    version = build(LayerVersion, {**document, **lists}, f"version {number}")
    need(version.number == number, f"has version {number}, whose document has the number {version.number}")
    for statement in version.policy:
        need(isinstance(statement, dict) and isinstance(statement.get("Sid"), str), "has a policy statement without a Sid")
    return version
