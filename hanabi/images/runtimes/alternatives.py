"""What to do instead of a runtime that has no root here."""

from hanabi.images.runtimes.names import BLOCKED, family_of
from hanabi.images.runtimes.recipes import RUNTIMES
from hanabi.images.runtimes.sources import AWS, DISTRIBUTION


def explain_missing(runtime: str, choice: str, reason: str) -> str:
    """Explain why a runtime is not to be had, and what to do. `reason`: why AWS's base image is not; empty: it was not asked for."""
    image = "AWS's base images are not asked for (--runtimes distribution)" if choice == DISTRIBUTION else f"AWS's base image: {reason}"
    packages = (
        "packages are not asked for (--runtimes aws)" if choice == AWS and runtime in RUNTIMES else "no packages that Hanabi knows have it"
    )
    return f"there is no runtime root of {runtime}. {image}; {packages}. What to do: {alternative(runtime)}"


def alternative(runtime: str) -> str:
    """The alternative to a runtime that has no root here."""
    if runtime == "provided":
        return "AWS no longer creates functions of it; use provided.al2023"
    if runtime == "go1.x":
        return "AWS no longer creates functions of it; build a `bootstrap` for provided.al2023"
    family, version = family_of(runtime)
    ways = []
    if near := nearest(runtime):
        ways.append(f"use {near}")
    if runtime not in BLOCKED:
        ways.append(
            f"a copy of AWS's base image lambda/{family}:{version} (--registry-mirror, or --runtime-images DIR for a layout on disk)"
        )
        if near:
            ways.append(f"--runtime-substitute {runtime}={near}")
    if family != "provided":
        ways.append("provided.al2023 with an interpreter and a `bootstrap` of your own")
    said = "; or ".join(ways)
    return f"AWS no longer creates functions of it; {said}" if runtime in BLOCKED else said


def nearest(runtime: str) -> str:
    """Return the nearest runtime of the same language that can be built of packages: the next newer, else the newest; empty: none."""
    family, version = family_of(runtime)
    known = sorted((_ordered(family_of(each)[1]), each) for each in RUNTIMES if family_of(each)[0] == family and each != runtime)
    newer = [each for order, each in known if order >= _ordered(version)]
    return newer[0] if newer else known[-1][1] if known else ""


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
