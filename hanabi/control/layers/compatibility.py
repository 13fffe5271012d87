"""Runtimes and architectures that a layer may declare, and AWS's words for others. They filter lists; no function is refused for them.

The sets that the messages list were recorded from AWS; their order is that of a hash.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hanabi.errors import ValidationError
from hanabi.images.runtimes.names import BLOCKED, ENUM, NAMES

ARCHITECTURES = ("x86_64", "arm64")
RUNTIMES = frozenset((*NAMES, *BLOCKED, "nodejs26.x", "python3.15", "custom"))  # every one that ever was: the API model's enumeration
LISTABLE = (
    "ruby3.5, ruby2.6, dotnetcore1.0, python3.7, nodejs8.10, nasa, ruby2.7, python2.7-greengrass, dotnetcore2.0, python3.8, java21, "
    "dotnet6, dotnetcore2.1, python3.9, java11, nodejs6.10, provided, dotnetcore3.1, dotnet8, java25, java17, nodejs, nodejs4.3, "
    "java8.al2, go1.x, dotnet10, nodejs20.x, go1.9, byol, nodejs10.x, provided.al2023, nodejs22.x, python3.10, java8, nodejs12.x, "
    "python3.11, nodejs24.x, nodejs8.x, python3.12, nodejs14.x, nodejs8.9, nodejs26.x, python3.13, python3.14, nodejs16.x, python3.15, "
    "provided.al2, nodejs4.3-edge, nodejs18.x, ruby3.2, python3.4, ruby3.3, ruby3.4, ruby2.5, python3.6, python2.7"
)


def check_declared(params: Mapping[str, Any]) -> None:
    """Check CompatibleRuntimes and CompatibleArchitectures of PublishLayerVersion, which AWS reports together."""
    wrong = []
    runtimes: Sequence[str] = params.get("CompatibleRuntimes") or ()
    if not RUNTIMES.issuperset(runtimes):
        wrong.append(
            f"Value '{_say(runtimes)}' at 'compatibleRuntimes' failed to satisfy constraint: Member must satisfy enum value set: [{ENUM}]"
        )
    architectures: Sequence[str] = params.get("CompatibleArchitectures") or ()
    if not set(ARCHITECTURES).issuperset(architectures):
        wrong.append(
            f"Value '{_say(architectures)}' at 'compatibleArchitectures' failed to satisfy constraint: Member must satisfy "
            f"constraint: [Member must satisfy enum value set: [{', '.join(ARCHITECTURES)}], Member must not be null]"
        )
    if wrong:
        raise ValidationError(f"{len(wrong)} validation error{'s' if len(wrong) > 1 else ''} detected: {'; '.join(wrong)}")


def check_filter(runtime: str | None) -> str | None:
    """Check CompatibleRuntime of a list."""
    if runtime and runtime not in RUNTIMES and runtime not in LISTABLE.split(", "):
        raise ValidationError(
            f"1 validation error detected: Value '{runtime}' at 'compatibleRuntime' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{LISTABLE}]"
        )
    return runtime


def _say(values: Sequence[str | None]) -> str:
    return f"[{', '.join('null' if value is None else value for value in values)}]"
