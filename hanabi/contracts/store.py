"""Durable documents by key: compare-and-set, atomic batches, and news of every change."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]  # a JSON object


@dataclass(frozen=True, slots=True)
class Write:
    """One document of a batch: put, or deleted where `value` is None."""

    key: str
    value: Document | None
    revision: int | None = None  # only if it is the current one; 0: only if there is none; None: whatever there is


@dataclass(frozen=True, slots=True)
class Change:
    """What has become of a document. `value` is None when it is gone, or damaged: then its key is in `Store.damaged`."""

    key: str
    value: Document | None
    revision: int  # of the document; of the write that deleted it, or a later one


class Watch(Protocol):
    def close(self) -> None:
        """Hear of nothing more. Idempotent."""


class Store(Protocol):
    """Durable documents by key. What the values mean is the caller's business.

    Keys are `/`-separated. Every write is on disk when it returns, and ends when its caller is cancelled. Revisions grow with every write
    to the store, so that a key that is deleted and made anew never repeats one. A document that cannot be read is left out of lists,
    raises `DocumentDamaged` where it is asked for, and is never lost: what is written or deleted under its key quarantines it first.
    """

    damaged: dict[str, str]  # key -> why, of those that were met; "it" is the subject

    async def get(self, key: str) -> tuple[Document, int] | None:
        """(value, revision) or None."""

    async def list(self, prefix: str) -> list[tuple[str, Document, int]]:
        """All (key, value, revision) below a prefix, in key order."""

    async def write(self, writes: Sequence[Write]) -> int:
        """All of them or none, as one change; returns its revision. Raises `RevisionMismatch`. To delete what is not there is no error."""

    async def put(self, key: str, value: Document, *, revision: int | None = None) -> int:
        """One `Write`."""

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        """One `Write` without a value."""

    async def quarantine(self, key: str) -> None:
        """Move a document, whatever it is, to `quarantine/<new revision>/<key>`."""

    def watch(self, prefix: str, changed: Callable[[Change], None]) -> Watch:
        """Call back with every change below a prefix from now on, whoever makes it: another process or node, or this one, before its
        write returns. Each document's changes come in their order; one that is soon changed again may be told once, as it is then.
        What was there before is not told: list it after the call. `changed` must not raise.
        """
