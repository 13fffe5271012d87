"""Runtimes and architectures that a layer may declare, and AWS's words for others. They filter lists; no function is refused for them.

The sets that the messages list were recorded from AWS; their order is that of a hash.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hanabi.errors import ValidationError

ARCHITECTURES = ("x86_64", "arm64")
# Every runtime that ever was, which layers may still declare: the API model's enumeration.
RUNTIMES = frozenset(
    (
        *("nodejs", "nodejs4.3", "nodejs4.3-edge", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x", "nodejs16.x"),
        *("nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "nodejs26.x", "java8", "java8.al2", "java8.al2023", "java11"),
        *("java11.al2023", "java17", "java17.al2023", "java21", "java25", "python2.7", "python3.6", "python3.7", "python3.8", "python3.9"),
        *("python3.10", "python3.11", "python3.12", "python3.13", "python3.14", "python3.15", "dotnetcore1.0", "dotnetcore2.0"),
        *("dotnetcore2.1", "dotnetcore3.1", "dotnet6", "dotnet8", "dotnet10", "go1.x", "ruby2.5", "ruby2.7", "ruby3.2", "ruby3.3"),
        *("ruby3.4", "ruby4.0", "provided", "provided.al2", "provided.al2023", "custom"),
    )
)
PUBLISHABLE = (
    "nodejs20.x, python3.14, provided.al2023, python3.12, python3.13, nodejs24.x, nodejs22.x, java25, python3.10, python3.11, java21, "
    "ruby3.3, ruby3.4, ruby3.2, python3.8, python3.9, java17, nodejs16.x, dotnet10, dotnet8, java11, dotnet6, nodejs18.x, provided.al2, "
    "java8.al2"
)
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
            f"Value '{_say(runtimes)}' at 'compatibleRuntimes' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{PUBLISHABLE}]"
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
