"""Hanabi's runtimes as data: their roots, how a root is made, and how the runtime is started."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

REVISION = 3  # raise it when `builder` makes something else from the same recipe
LOCKS = Path(__file__).parent / "locks"

_COMMON = ("ca-certificates", "libatomic1", "libgomp1", "libstdc++6", "locales", "netbase", "tzdata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The recipe of a root: a Debian release, or another root with additions."""

    suite: str = ""  # a Debian release ...
    packages: tuple[str, ...] = ()  # ... and what is installed of it
    base: str = ""  # or another recipe, whose files are shared
    python: str = ""  # set up /var/lang for this version, with boto3
    node: str = ""  # put Node.js of this major version there
    sdk: bool = False  # put the AWS SDK for JavaScript there


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A value of `Runtime` that CreateFunction takes."""

    recipe: str
    language: str = ""  # the directory below guest/ that becomes /var/runtime; empty: the function brings its own bootstrap
    command: tuple[str, ...] = ()
    environment: Mapping[str, str]
    heap_sized: bool = False  # `RuntimeImage.heap_sized`
    clonable: bool = False  # the bootstrap may be part of a snapshot
    note: str = ""  # for `hanabi images`: how it differs from Lambda's


RECIPES: dict[str, Recipe] = {
    "python3.11": Recipe(suite="bookworm", packages=(*_COMMON, "python3", "python3-distutils"), python="3.11"),
    "python3.13": Recipe(suite="trixie", packages=(*_COMMON, "python3"), python="3.13"),
    "provided": Recipe(suite="bookworm", packages=(*_COMMON, "curl")),
    "aws-sdk-js": Recipe(base="provided", sdk=True),
    "nodejs20.x": Recipe(base="aws-sdk-js", node="20"),
    "nodejs22.x": Recipe(base="aws-sdk-js", node="22"),
    "nodejs24.x": Recipe(base="aws-sdk-js", node="24"),
}

# AWS Lambda developer guide, "Using Lambda environment variables". AWS_EXECUTION_ENV is not defined for OS-only runtimes.
_ENVIRONMENT = {
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
    "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
    "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
}
_STARTED_BY_BASH = {"PWD": "/var/task", "SHLVL": "0"}  # as the entry points of Python, Node.js, Ruby and .NET are there
_AMAZON_LINUX_2 = {**_ENVIRONMENT, **{name: _ENVIRONMENT[name].partition(":")[2] for name in ("PATH", "LD_LIBRARY_PATH")}}  # no /var/lang


def base_environment(runtime: str) -> dict[str, str]:
    """Make the environment of a runtime that is AWS's own base image, whose bootstrap adds what its language needs."""
    if runtime.startswith("provided"):
        return dict(_AMAZON_LINUX_2 if runtime == "provided.al2" else _ENVIRONMENT)
    return {**_ENVIRONMENT, "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}"}


def _python(version: str) -> Runtime:
    return Runtime(
        recipe=f"python{version}",
        language="python",
        clonable=True,  # V8 and its OpenSSL cannot be made to draw anew from outside: Node.js is not
        command=(f"/var/lang/bin/python{version}", "/var/runtime/bootstrap.py"),
        environment={
            **_ENVIRONMENT,
            **_STARTED_BY_BASH,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
            "PYTHONPATH": "/var/runtime",
            **({} if version in ("3.9", "3.10", "3.11") else {"LC_CTYPE": "C.UTF-8"}),
        },
    )


def _node(major: str) -> Runtime:
    folders = (f"/opt/nodejs/node{major}/node_modules", "/opt/nodejs/node_modules")
    return Runtime(
        recipe=f"nodejs{major}.x",
        language="node",
        heap_sized=True,
        command=("/var/lang/bin/node", "/var/runtime/bootstrap.mjs"),
        environment={
            **_ENVIRONMENT,
            **_STARTED_BY_BASH,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_nodejs{major}.x",
            "NODE_PATH": ":".join((*folders, "/var/runtime/node_modules", "/var/runtime", "/var/task")),
        },
    )


RUNTIMES: dict[str, Runtime] = {
    "python3.11": _python("3.11"),
    "python3.13": _python("3.13"),
    "nodejs20.x": _node("20"),
    "nodejs22.x": _node("22"),
    "nodejs24.x": _node("24"),
    "provided.al2023": Runtime(recipe="provided", environment=_ENVIRONMENT),
    "provided.al2": Runtime(recipe="provided", environment=_AMAZON_LINUX_2),
}


def digest_recipe(name: str) -> str:
    """SHA-256 of everything that goes into a root, in hexadecimal."""
    recipe = RECIPES[name]
    content = {
        "revision": REVISION,
        "machine": platform.machine(),
        "recipe": asdict(recipe),
        "base": digest_recipe(recipe.base) if recipe.base else "",
        "locks": [path.read_text() for path in locks(recipe)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def locks(recipe: Recipe) -> list[Path]:
    """The lock files of the additions."""
    found = []
    if recipe.python:
        found.append(LOCKS / "boto3.txt")
    if recipe.node:
        found.append(LOCKS / f"node-{recipe.node}.txt")
    if recipe.sdk:
        found += sorted((LOCKS / "node").iterdir())
    return found
