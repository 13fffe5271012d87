"""Lambda's runtimes that have no root here, and an alternative for each.

AWS Lambda developer guide, "Lambda runtimes". Runtimes that AWS no longer creates functions for are marked.
"""

from hanabi.images.runtimes.recipes import RUNTIMES

_BASES = ("python", "nodejs", "java", "dotnet", "ruby")  # of which AWS has base images
_CURRENT = (
    "nodejs24.x", "nodejs22.x", "python3.14", "python3.13", "python3.12", "python3.11", "java25", "java21", "java17", "java11", "java8.al2",
    "dotnet10", "ruby4.0", "ruby3.4", "ruby3.3", "provided.al2023",
)  # fmt: skip
_DEPRECATED = (
    "nodejs20.x", "nodejs18.x", "nodejs16.x", "python3.10", "python3.9", "python3.8", "dotnet8", "dotnet6", "ruby3.2", "provided.al2",
)  # fmt: skip
_BLOCKED = (
    "nodejs14.x", "nodejs12.x", "python3.7", "ruby2.7", "java8", "go1.x", "provided", "dotnetcore3.1",
)  # fmt: skip
NEAREST = {"python": "python3.13 or python3.11", "nodejs": "nodejs22.x or nodejs24.x"}  # the same language, of those that can be built


def unavailable_runtimes() -> dict[str, str]:
    """The alternatives by runtime name, in Lambda's order."""
    return {runtime: alternative(runtime) for runtime in (*_CURRENT, *_DEPRECATED, *_BLOCKED) if runtime not in RUNTIMES}


def explain_unknown(runtime: str) -> str:
    """Explain why a runtime is unavailable, and what to do instead."""
    reason = "no supported Debian release carries it" if runtime.startswith("python") else "Hanabi builds no root for it"
    return f"There is no runtime root for {runtime}: {reason}; {alternative(runtime)}"


def alternative(runtime: str) -> str:
    """The alternative to a runtime that has no root here."""
    if runtime == "provided":
        return "AWS no longer creates functions of it; use provided.al2023"
    if runtime == "go1.x":
        return "AWS no longer creates functions of it; build a `bootstrap` for provided.al2023"
    family = runtime.rstrip("0123456789.x") if not runtime.endswith(".al2") else runtime.removesuffix(".al2").rstrip("0123456789")
    ways = []
    if near := NEAREST.get(family):
        ways.append(f"use {near}")
    if family in _BASES:
        version = runtime.removeprefix(family).removesuffix(".x")
        ways.append(f"a container image FROM AWS's base image lambda/{family}:{version} (PackageType Image)")
    ways.append("provided.al2023 with an interpreter and a `bootstrap` of your own")
    said = "; or ".join(ways)
    return f"AWS no longer creates functions of it; {said}" if runtime in _BLOCKED else said
