"""HTTP method and path -> operation, from a model's URI templates."""

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from hanabi.edge.protocols.codec import Match
from hanabi.edge.protocols.model import Model

_CACHED = 4096


class UriRoute(NamedTuple):
    operation: str
    labels: tuple[str, ...]  # the template's, in order
    query: frozenset[tuple[str, str]]  # pairs that must be there, as in `?List=ALL`


class PathSegment:
    """One path segment of the tree of templates."""

    __slots__ = ("literals", "label", "routes")

    def __init__(self) -> None:
        self.literals: dict[str, PathSegment] = {}
        self.label: PathSegment | None = None
        self.routes: dict[str, list[UriRoute]] = {}  # by method, those that want more of the query first


class UriRoutes:
    """All operations of a rest-json service."""

    def __init__(self, model: Model) -> None:
        self._root = PathSegment()
        self._found: dict[tuple[str, str], Match] = {}  # where the path alone decides
        for name in model.operation_names:
            http = model.operation(name).http
            self._add(name, http["method"], http["requestUri"])

    def _add(self, operation: str, method: str, uri: str) -> None:
        path, _, query = uri.partition("?")
        node, labels = self._root, []
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                labels.append(segment.strip("{}"))
                node.label = node.label or PathSegment()
                node = node.label
            else:
                node = node.literals.setdefault(segment, PathSegment())
        routes = node.routes.setdefault(method, [])
        routes.append(UriRoute(operation, tuple(labels), frozenset(parse_qsl(query))))
        routes.sort(key=lambda route: -len(route.query))

    def find(self, method: str, path: str, query: str) -> Match | None:
        """Find the operation, with its labels decoded. A slash at the end is ignored: older clients send it."""
        found = self._found.get((method, path))
        if found is not None:
            return found
        node, values = self._root, []
        for segment in path.strip("/").split("/"):
            child = node.literals.get(segment)
            if child is None:
                child = node.label
                values.append(unquote(segment))
            if child is None:
                return None
            node = child
        routes = node.routes.get(method, ())
        given = frozenset(parse_qsl(query, max_num_fields=100)) if len(routes) > 1 else frozenset()
        for route in routes:
            if route.query <= given or len(routes) == 1:
                found = Match(route.operation, dict(zip(route.labels, values, strict=True)))
                if len(routes) == 1 and len(path) <= 512:
                    if len(self._found) >= _CACHED:
                        self._found.clear()
                    self._found[method, path] = found
                return found
        return None
