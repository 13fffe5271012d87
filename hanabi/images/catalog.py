"""The runtimes Hanabi can build, as data: what each root is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field

COMMON_PACKAGES = ("bash", "coreutils", "ca-certificates", "curl", "libc-bin", "libgomp1", "libstdc++6", "netbase", "tzdata")
PATH = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
LD_LIBRARY_PATH = "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
COMMON_ENVIRONMENT = {"LANG": "en_US.UTF-8", "TZ": ":UTC", "PATH": PATH, "LD_LIBRARY_PATH": LD_LIBRARY_PATH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one runtime root is made, and how its bundled bootstrap is started."""

    runtime: str  # Lambda's identifier
    suite: str  # Debian release that the root comes from
    packages: tuple[str, ...] = ()
    language: str = ""  # "python" | "node" | "" (OS-only)
    version: str = ""  # "3.11"; for Node the major version
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def _python(version: str, suite: str) -> Recipe:
    return Recipe(
        runtime=f"python{version}",
        suite=suite,
        packages=("python3", "libpython3-stdlib", f"libpython{version}"),
        language="python",
        version=version,
        command=(f"/var/lang/bin/python{version}", "/var/runtime/bootstrap.py"),
        environment={"PYTHONPATH": "/var/runtime", "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}"},
    )


def _node(version: str) -> Recipe:
    layers = (f"/opt/nodejs/node{version}/node_modules", "/opt/nodejs/node_modules")
    paths = (*layers, "/var/runtime/node_modules", "/var/lang/lib/node_modules")
    return Recipe(
        runtime=f"nodejs{version}.x",
        suite="bookworm",
        packages=("libatomic1",),
        language="node",
        version=version,
        command=("/var/lang/bin/node", "/var/runtime/bootstrap.mjs"),
        environment={"NODE_PATH": ":".join(paths), "AWS_EXECUTION_ENV": f"AWS_Lambda_nodejs{version}.x"},
    )


RECIPES: dict[str, Recipe] = {
    recipe.runtime: recipe
    for recipe in (
        _python("3.11", "bookworm"),
        _python("3.13", "trixie"),
        _node("20"),
        _node("22"),
        _node("24"),
        Recipe(runtime="provided.al2023", suite="bookworm"),
        Recipe(runtime="provided.al2", suite="bookworm"),
    )
}

ELSEWHERE = {
    "python3.12": "no Debian release carries Python 3.12; use python3.11 or python3.13",
    "python3.10": "no supported Debian release carries Python 3.10; use python3.11 or python3.13",
    "java21": "Java roots are not built yet; run it as provided.al2023 with a bootstrap that starts a bundled JRE",
    "java17": "Java roots are not built yet; run it as provided.al2023 with a bootstrap that starts a bundled JRE",
    "dotnet8": ".NET roots are not built yet; publish the function self-contained for provided.al2023",
    "ruby3.3": "Ruby roots are not built yet; run it as provided.al2023 with a bundled Ruby",
}


def how_to_get(runtime: str) -> str:
    """Why a runtime is not here, and what to do instead."""
    return ELSEWHERE.get(runtime, "Hanabi builds " + ", ".join(RECIPES))
