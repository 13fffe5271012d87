"""Document formats: each kind's current version, and the migrations to it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hanabi.contracts.store import Document

Migration = Callable[[Document], Document]


def _accept(document: Document) -> None:
    """Accept every document: its reader checks it."""


@dataclass(frozen=True, slots=True)
class Format:
    """The format of one kind of document. `migrations` lead from version 0 (no version) to the newest; `check` raises `ValueError`."""

    migrations: tuple[Migration, ...] = ()
    check: Callable[[Document], None] = _accept

    @property
    def version(self) -> int:
        return len(self.migrations)


Formats = Mapping[str, Format]  # by the beginning of their keys, in which "*" is any segment: "*/*/functions/"
_PLAIN = Format()


def format_of(formats: Formats, key: str) -> Format:
    return next((each for prefix, each in formats.items() if _begins(key, prefix)), _PLAIN)


def _begins(key: str, prefix: str) -> bool:
    leading = prefix.count("*/")
    return key.split("/", leading)[-1].startswith(prefix[2 * leading :]) if key.count("/") >= leading else False


def read_document(text: Any, version: Any, format: Format) -> Document:
    """Migrate a document to the current version and check it. Raises `ValueError` whose text follows "it"."""
    if type(version) is not int or version < 0:
        raise ValueError("has no version")
    if version > format.version:
        raise ValueError(f"has version {version}, and this Hanabi knows versions up to {format.version}")
    try:
        loaded = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(loaded, dict):
        raise ValueError("is not a JSON object")
    document: Document = loaded
    try:
        for step in format.migrations[version:]:
            document = step(document)
        format.check(document)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(describe(error)) from None
    return document


def describe(error: Exception) -> str:
    """Describe a reader's error, in words that follow "it"."""
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return str(error) if type(error) is ValueError and str(error) else f"cannot be read: {type(error).__name__}: {error}"
