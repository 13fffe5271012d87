"""What to do instead of a runtime that has no root here."""

from hanabi.images.runtimes.names import BLOCKED, NAMES, family_of
from hanabi.images.runtimes.recipes import RUNTIMES

_BASES = ("python", "nodejs", "java", "dotnet", "ruby")  # of which AWS has base images
NEAREST = {"python": "python3.13 or python3.11", "nodejs": "nodejs22.x or nodejs24.x"}  # the same language, of those that can be built


def runtimes_without_root() -> dict[str, str]:
    """The alternatives by runtime name, in Lambda's order."""
    return {runtime: alternative(runtime) for runtime in (*NAMES, *BLOCKED) if runtime not in RUNTIMES}


def explain_missing(runtime: str) -> str:
    """Explain why a runtime has no root, and what to do instead."""
    reason = "no supported Debian release carries it" if runtime.startswith("python") else "Hanabi builds no root for it"
    return f"There is no runtime root for {runtime}: {reason}; {alternative(runtime)}"


def alternative(runtime: str) -> str:
    """The alternative to a runtime that has no root here."""
    if runtime == "provided":
        return "AWS no longer creates functions of it; use provided.al2023"
    if runtime == "go1.x":
        return "AWS no longer creates functions of it; build a `bootstrap` for provided.al2023"
    family, version = family_of(runtime)
    ways = []
    if near := NEAREST.get(family):
        ways.append(f"use {near}")
    if family in _BASES:
        ways.append(f"a container image FROM AWS's base image lambda/{family}:{version} (PackageType Image)")
    ways.append("provided.al2023 with an interpreter and a `bootstrap` of your own")
    said = "; or ".join(ways)
    return f"AWS no longer creates functions of it; {said}" if runtime in BLOCKED else said
