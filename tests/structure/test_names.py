"""Two modules, or two classes, share a name only where they are the same thing in two rooms."""

import ast
from collections import Counter
from pathlib import PurePath

from tests.structure.sources import modules

# The same thing: a protocol and what is behind it, a service's operations and what they are about, a command, a double.
SAME_MODULES = set(
    "aliases body builder clock concurrency credentials doctor driver environments errors event_configs event_log event_source_mappings "
    "fleet functions health images invoke invoker journal keys layers logs machine operations pages paths patterns policies "
    "progress provisioned sandbox server service states store tags urls usage versions".split()
)
SAME_CLASSES = set("CodeStore Drives Fleet LayerSets LayerSource PinnedImage Snapshots StoredCode".split())
# Different things. These only ever get fewer.
KNOWN_MODULES = set("api container dependencies frames handlers listing model response settings targets".split())
KNOWN_CLASSES: set[str] = set()


def test_modules_that_share_a_name_are_the_same_thing() -> None:
    names = Counter(PurePath(path).stem for path in modules("hanabi"))
    shared = {name for name, count in names.items() if count > 1 and not name.startswith("__")}
    assert shared - SAME_MODULES <= KNOWN_MODULES, "another name, or a word in SAME_MODULES if it is the same thing"


def test_classes_that_share_a_name_are_the_same_thing() -> None:
    names = Counter(
        node.name
        for path in modules("hanabi")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    shared = {name for name, count in names.items() if count > 1}
    assert shared - SAME_CLASSES <= KNOWN_CLASSES, "another name, or a word in SAME_CLASSES if it is the same thing"
