"""The index of function URLs by id, and its listeners."""

from collections.abc import Callable

from hanabi.control.functions import Functions
from hanabi.control.model import Function, Url


class UrlIndex:
    """The index. `url_for` makes the URL of an id."""

    def __init__(self, functions: Functions, url_for: Callable[[str], str]) -> None:
        self.url_for = url_for
        self._urls: dict[str, Url] = {}
        self._listeners: list[tuple[Callable[[str], None], Callable[[str], None]]] = []
        functions.listen(self._changed)

    def lookup(self, url_id: str) -> Url | None:
        """Return the function URL of an id."""
        return self._urls.get(url_id)

    def on_url(self, added: Callable[[str], None], removed: Callable[[str], None]) -> None:
        """Call back with the id of each function URL: existing ones now, and each one that is added or removed."""
        self._listeners.append((added, removed))
        for url_id in self._urls:
            added(url_id)

    def _changed(self, old: Function | None, new: Function | None) -> None:
        before = {url.id for url in old.urls.values()} if old else set()
        after = {url.id: url for url in new.urls.values()} if new else {}
        for url_id in before - after.keys():
            del self._urls[url_id]
        self._urls.update(after)
        for added, removed in self._listeners:
            for url_id in before - after.keys():
                removed(url_id)
            for url_id in after.keys() - before:
                added(url_id)
