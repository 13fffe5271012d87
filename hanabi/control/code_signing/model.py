"""Code signing configurations as immutable values, and their stored form."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hanabi.contracts.store import Document
from hanabi.control.values import build, need

WARN, ENFORCE = "Warn", "Enforce"
_ID = re.compile(r"csc-[a-z0-9]{17}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSigningConfig:
    """Whose signatures are accepted, and what happens to code without one."""

    id: str  # csc-...
    publishers: tuple[str, ...]  # ARNs of signing profiles, or of versions of them
    modified_ms: int
    description: str = ""
    policy: str = WARN  # for code that is not signed by one of them
    tags: Mapping[str, str] = field(default_factory=dict)


def config_document(config: CodeSigningConfig) -> Document:
    return {key: value for key, value in asdict(config).items() if key != "id"}


def read_config(id: str, document: Document, parts: Mapping[str, Any]) -> CodeSigningConfig:
    """Read a configuration. Raises `ValueError` with what is wrong."""
    need(bool(_ID.fullmatch(id)), "is of no code signing configuration that can be")
    config = build(CodeSigningConfig, {**document, "id": id, "publishers": tuple(document["publishers"])}, "it")
    need(config.policy in (WARN, ENFORCE), f"has the policy {config.policy!r}")
    need(all(isinstance(each, str) for each in config.publishers), "has publishers that are no ARNs")
    return config
