"""Watches of document prefixes, and the revisions that they know already. Used by one loop."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hanabi.contracts.store import Change, Document

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class PrefixWatch:
    """A `contracts.store.Watch`."""

    prefix: str
    changed: Callable[[Change], None]
    watches: "list[PrefixWatch]"

    def close(self) -> None:
        if self in self.watches:
            self.watches.remove(self)


class Watches:
    def __init__(self) -> None:
        self._watches: list[PrefixWatch] = []
        self._known: dict[str, int] = {}  # key -> revision
        self._revision = 0  # of the last write of this process

    def add(self, prefix: str, changed: Callable[[Change], None]) -> PrefixWatch:
        watch = PrefixWatch(prefix, changed, self._watches)
        self._watches.append(watch)
        return watch

    @property
    def prefixes(self) -> tuple[str, ...]:
        return tuple({watch.prefix for watch in self._watches})

    def covers(self, key: str) -> bool:
        return any(key.startswith(watch.prefix) for watch in self._watches)

    def known(self) -> dict[str, int]:
        """Copy the known revisions, for another thread."""
        return dict(self._known)

    def shown(self, key: str, revision: int) -> None:
        """Note that a caller has seen this revision in a list: it need not be told."""
        self._known[key] = max(revision, self._known.get(key, 0))

    def is_stale(self, revision: int) -> bool:
        """Whether a read at a store revision is older than a write of this process that was told already."""
        return revision < self._revision

    def wrote(self, revision: int) -> None:
        self._revision = max(revision, self._revision)

    def tell(self, key: str, value: Document | None, revision: int, *, gone: bool) -> None:
        """Tell the watches of a change, unless they know it."""
        known = self._known.get(key, 0)
        if known >= revision or (gone and not known):
            return
        if gone:
            del self._known[key]
        else:
            self._known[key] = revision
        for watch in list(self._watches):
            if key.startswith(watch.prefix):
                try:
                    watch.changed(Change(key, value, revision))
                except Exception:
                    log.exception("a defect of Hanabi: whoever watches %s could not be told of %s", watch.prefix, key)
