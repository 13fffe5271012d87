"""Who imports whom, read from the code: `python -m tests.structure.imports` writes the table of docs/architecture.md anew."""

import ast
from collections import defaultdict
from pathlib import Path

from tests.structure.sources import ROOT, dotted, room_of

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- imports: begin -->\n", "<!-- imports: end -->\n"
FREE = ("base", "contracts", "errors", "quotas", "__version__")  # anybody may import these, so they are not in the table
Graph = dict[str, set[str]]


def module_graph() -> Graph:
    """Module -> modules of Hanabi that it imports: in functions and for type checking too."""
    paths = {dotted(path): path for path in (ROOT / "hanabi").rglob("*.py")}
    return {module: set(_imports(path, paths.keys() - {module})) - {module} for module, path in paths.items()}


def _imports(path: Path, known: "set[str]") -> "set[str]":
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "hanabi":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return found


def room_graph() -> Graph:
    """Room -> other rooms that it imports, those that all may import aside."""
    rooms: Graph = defaultdict(set)
    for module, targets in module_graph().items():
        if module == "hanabi":
            continue
        rooms[room_of(module)] |= {room_of(target) for target in targets if target != "hanabi"}
    return {room: targets - {room, *FREE} for room, targets in rooms.items() if room not in ("__main__", *FREE)}


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected parts of a graph that have more than one node (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in order:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in stack:
                lowest[node] = min(lowest[node], order[target])
        if lowest[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[-len(part) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return sorted(found)


def table() -> str:
    """The table as Markdown. A room stands above all that it imports."""
    graph = room_graph()
    depth: dict[str, int] = {}

    def depth_of(room: str, above: tuple[str, ...] = ()) -> int:
        if room in above:
            return 0
        if room not in depth:
            depth[room] = 1 + max((depth_of(each, (*above, room)) for each in sorted(graph.get(room, ()))), default=0)
        return depth[room]

    rooms = sorted(sorted(graph), key=lambda room: (-depth_of(room), room))
    rows = [f"| `{room}` | {', '.join(f'`{each}`' for each in rooms if each in graph[room]) or '-'} |" for room in rooms]
    return "\n".join(["| room | imports, besides " + ", ".join(f"`{each}`" for each in FREE[:4]) + " |", "|---|---|", *rows, ""])


def page() -> str:
    """docs/architecture.md with the table of today."""
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
