"""Durable documents by key, with compare-and-set."""

from typing import Any, Protocol


class Store(Protocol):
    """Durable documents by key, with compare-and-set. What the values mean is the caller's business.

    Values are JSON objects; keys are `/`-separated. Every write is on disk when it returns. A document that cannot be read is left out of
    lists, raises `DocumentDamaged` where it is asked for, and is never lost: what is written or deleted under its key puts it aside first.
    """

    damaged: dict[str, str]  # key -> why, of those that were met; "it" is the subject

    async def get(self, key: str) -> tuple[dict[str, Any], int] | None:
        """(value, revision) or None."""

    async def put(self, key: str, value: dict[str, Any], *, revision: int | None = None) -> int:
        """Write and return the new revision. `revision` given: only if it is the current one (0: only if absent),
        else raises `RevisionMismatch`."""

    async def delete(self, key: str, *, revision: int | None = None) -> None: ...

    async def list(self, prefix: str) -> list[tuple[str, dict[str, Any], int]]:
        """All (key, value, revision) below a prefix, in key order."""

    async def quarantine(self, key: str) -> None:
        """Move a document, whatever it is, to `quarantine/<new revision>/<key>`."""
