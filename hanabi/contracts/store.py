"""The document store: compare-and-set, atomic batches, and watches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Document = dict[str, Any]  # a JSON object


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a batch: a put, or a delete when `value` is None."""

    key: str
    value: Document | None
    revision: int | None = None  # only if it is the current one; 0: only if there is none; None: whatever there is


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a document. `value` is None when it was deleted, or is damaged: then its key is in `Store.damaged`."""

    key: str
    value: Document | None
    revision: int  # of the document; of the write that deleted it, or a later one


class Watch(Protocol):
    def close(self) -> None:
        """Stop the watch. Idempotent."""


class Store(Protocol):
    """Durable documents by key. Only the caller knows what the values mean.

    Keys are `/`-separated. Every write is on disk when it returns, and ends when its caller is cancelled. Revisions grow with every write
    to the store, so that a key that is deleted and made anew never repeats one. A document that cannot be read is left out of lists,
    raises `DocumentDamaged` where it is asked for, and is never lost: what is written or deleted under its key quarantines it first.
    """

    @property
    def damaged(self) -> Mapping[str, str]:
        """Why documents that were met are damaged, by key; "it" is the subject."""

    async def get(self, key: str) -> tuple[Document, int] | None:
        """Read a document: (value, revision), or None."""

    async def list(self, prefix: str) -> list[tuple[str, Document, int]]:
        """List all (key, value, revision) below a prefix, in key order."""

    async def segments(self, prefix: str) -> tuple[str, ...]:
        """List what comes next in keys below a prefix, up to a `/`, each once and in order."""

    async def write(self, writes: Sequence[Write]) -> int:
        """Apply a batch atomically; returns its revision. Raises `RevisionMismatch`. Deleting an absent document is no error."""

    async def put(self, key: str, value: Document, *, revision: int | None = None) -> int:
        """One `Write`."""

    async def delete(self, key: str, *, revision: int | None = None) -> None:
        """One `Write` without a value."""

    async def quarantine(self, key: str) -> None:
        """Move a document, damaged or not, to `quarantine/<new revision>/<key>`."""

    def watch(self, prefix: str, changed: Callable[[Change], None]) -> Watch:
        """Call back with every later change below a prefix, by another process or node too; for this process's writes, before the
        write returns. Changes of one document come in order; several in quick succession may be reported as one.
        Existing documents are not reported: list them after the call. `changed` must not raise.
        """
