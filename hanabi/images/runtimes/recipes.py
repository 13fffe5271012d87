"""Hanabi's runtimes as data: their roots, how a root is made, and how the runtime is started."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

REVISION = 3  # raise it when `builder` makes something else from the same recipe
LOCKS = Path(__file__).parent / "locks"

_LATER = ("rolling", "cpython", "ruby", "java")  # fields that recipes have had since roots were first built: without them, digests stay
_CPYTHON_LIBRARIES = ("libbz2-1.0", "libcrypt1", "liblzma5", "libncursesw6", "libreadline8", "libsqlite3-0", "libuuid1", "zlib1g")
_RUBY = ("ruby3.3", "ruby-aws-sdk-core", "ruby-aws-sdk-s3", "ruby-aws-sdk-kms", "ruby-rexml")
_JAVA = ("ca-certificates-java",)
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
    rolling: bool = False  # the suite is one that changes daily, whose lists say that they are good for a week only
    cpython: str = ""  # put a relocatable build of this version there, with boto3
    ruby: str = ""  # the packages' Ruby of this version
    java: str = ""  # set up the packages' Java of this version there, with AWS's runtime interface client


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A value of `Runtime` that CreateFunction takes."""

    recipe: str
    language: str = ""  # the directory below guest/ that becomes /var/runtime; empty: the function brings its own bootstrap
    command: tuple[str, ...] = ()
    environment: Mapping[str, str]
    heap_sized: bool = False  # `RuntimeImage.heap_sized`
    own_bootstrap: str = ""  # instead of `command`: `RuntimeImage.own_bootstrap`
    clonable: bool = False  # the bootstrap may be part of a snapshot
    note: str = ""  # for `hanabi images`: how it differs from Lambda's


RECIPES: dict[str, Recipe] = {
    "python3.11": Recipe(suite="bookworm", packages=(*_COMMON, "python3", "python3-distutils"), python="3.11"),
    "python3.13": Recipe(suite="trixie", packages=(*_COMMON, "python3"), python="3.13"),
    "python3.9": Recipe(suite="bullseye", packages=(*_COMMON, "python3", "python3-distutils"), python="3.9"),
    "python3.14": Recipe(suite="forky", rolling=True, packages=(*_COMMON, "python3.14"), python="3.14"),
    "cpython": Recipe(suite="bookworm", packages=(*_COMMON, *_CPYTHON_LIBRARIES)),
    "python3.10": Recipe(base="cpython", cpython="3.10"),
    "python3.12": Recipe(base="cpython", cpython="3.12"),
    "provided": Recipe(suite="bookworm", packages=(*_COMMON, "curl")),
    "aws-sdk-js": Recipe(base="provided", sdk=True),
    "nodejs18.x": Recipe(base="aws-sdk-js", node="18"),
    "nodejs20.x": Recipe(base="aws-sdk-js", node="20"),
    "nodejs22.x": Recipe(base="aws-sdk-js", node="22"),
    "nodejs24.x": Recipe(base="aws-sdk-js", node="24"),
    "ruby3.3": Recipe(suite="trixie", packages=(*_COMMON, *_RUBY), ruby="3.3"),
    "java8": Recipe(suite="sid", rolling=True, packages=(*_COMMON, *_JAVA, "openjdk-8-jre-headless"), java="8"),
    "java11": Recipe(suite="bullseye", packages=(*_COMMON, *_JAVA, "openjdk-11-jre-headless"), java="11"),
    "java17": Recipe(suite="bookworm", packages=(*_COMMON, *_JAVA, "openjdk-17-jre-headless"), java="17"),
    "java21": Recipe(suite="trixie", packages=(*_COMMON, *_JAVA, "openjdk-21-jre-headless"), java="21"),
    "java25": Recipe(suite="trixie", packages=(*_COMMON, *_JAVA, "openjdk-25-jre-headless"), java="25"),
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


def _python(version: str, note: str = "") -> Runtime:
    return Runtime(
        note=note,
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


def _java(runtime: str, version: str) -> Runtime:
    return Runtime(
        recipe=f"java{version}",
        language="java",
        own_bootstrap="/var/runtime/bootstrap",
        environment={**_ENVIRONMENT, "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}"},
    )


def _ruby(version: str) -> Runtime:
    gems = f"{version}.0"
    return Runtime(
        recipe=f"ruby{version}",
        language="ruby",
        own_bootstrap="/var/runtime/bootstrap",
        note="of the AWS SDK it has S3 and KMS; the runtime is Hanabi's",
        environment={
            **_ENVIRONMENT,
            **_STARTED_BY_BASH,
            **{name: f"/var/lang/{folder}:{_ENVIRONMENT[name]}" for name, folder in (("PATH", "bin"), ("LD_LIBRARY_PATH", "lib"))},
            "AWS_EXECUTION_ENV": f"AWS_Lambda_ruby{version}",
            "GEM_HOME": "/var/runtime",
            "GEM_PATH": f"/var/task/vendor/bundle/ruby/{gems}:/opt/ruby/gems/{gems}:/var/runtime:/var/runtime/ruby/{gems}",
            "RUBYLIB": "/var/task:/var/runtime/lib:/opt/ruby/lib",
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
            **({"NODE_EXTRA_CA_CERTS": "/var/runtime/ca-cert.pem"} if major == "18" else {}),
        },
    )


RUNTIMES: dict[str, Runtime] = {
    "python3.9": _python("3.9"),
    "python3.10": _python("3.10", "Python 3.10.8 without the modules sqlite3 and lzma, and without later fixes of security"),
    "python3.11": _python("3.11"),
    "python3.12": _python("3.12", "Python 3.12.1, without later fixes of security"),
    "python3.13": _python("3.13"),
    "python3.14": _python("3.14"),
    "nodejs18.x": _node("18"),
    "nodejs20.x": _node("20"),
    "nodejs22.x": _node("22"),
    "nodejs24.x": _node("24"),
    "ruby3.3": _ruby("3.3"),
    "java8.al2": _java("java8.al2", "8"),
    "java8.al2023": _java("java8.al2023", "8"),
    "java11": _java("java11", "11"),
    "java11.al2023": _java("java11.al2023", "11"),
    "java17": _java("java17", "17"),
    "java17.al2023": _java("java17.al2023", "17"),
    "java21": _java("java21", "21"),
    "java25": _java("java25", "25"),
    "provided.al2023": Runtime(recipe="provided", environment=_ENVIRONMENT),
    "provided.al2": Runtime(recipe="provided", environment=_AMAZON_LINUX_2),
}


def digest_recipe(name: str) -> str:
    """SHA-256 of everything that goes into a root, in hexadecimal."""
    recipe = RECIPES[name]
    content = {
        "revision": REVISION,
        "machine": platform.machine(),
        "recipe": {name: value for name, value in asdict(recipe).items() if value or name not in _LATER},
        "base": digest_recipe(recipe.base) if recipe.base else "",
        "locks": [path.read_text() for path in locks(recipe)],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def boto3_lock(version: str) -> Path:
    """Return the lock file of boto3 for a version of Python: an old one has what it can have."""
    own = LOCKS / f"boto3-{version}.txt"
    return own if own.exists() else LOCKS / "boto3.txt"


def locks(recipe: Recipe) -> list[Path]:
    """The lock files of the additions."""
    found = []
    if version := recipe.python or recipe.cpython:
        found.append(boto3_lock(version))
    if recipe.cpython:
        found.append(LOCKS / f"cpython-{recipe.cpython}.txt")
    if recipe.java:
        found.append(LOCKS / "java-ric.txt")
    if recipe.node:
        wheel = LOCKS / f"node-{recipe.node}.txt"
        found += [wheel] if wheel.exists() else sorted(wheel.with_suffix("").iterdir())
    if recipe.sdk:
        found += sorted((LOCKS / "node").iterdir())
    return found
