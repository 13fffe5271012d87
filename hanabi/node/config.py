"""The settings of a node: from flags, else `HANABI_*` variables, else the defaults here."""

import os
import re
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from hanabi.errors import HanabiError
from hanabi.images.code.s3_credentials import read_credentials
from hanabi.images.runtimes.names import NAMES, family_of
from hanabi.images.runtimes.sources import AWS, CHOICES, DISTRIBUTION, PENDING, REFUSE, RuntimeSources
from hanabi.node.host_attachments import read_filesystems, read_vpcs
from hanabi.quotas import STREAMED_BYTES_PER_S

ROLES = ("strict", "lenient", "any")
IAM = ("default", "enforce")
AUTH = ("keys", "none")
ENDPOINTS = ("served", "hanabi", "none")
ISOLATION = ("auto", "firecracker", "oci", "process")
SYSTEM_DATA_DIR = Path("/var/lib/hanabi")
DEFAULT_PORT = 9555


class SettingsError(HanabiError):
    """An invalid value of a setting, which the message names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """All settings of `hanabi.node.serve.serve`. Each field is also a flag of `hanabi up` and a variable `HANABI_<FIELD>`.

    Directories are resolved, so that other spellings and symbolic links mean the same one.
    """

    data_dir: Path
    images_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    isolation: str = "auto"  # one of ISOLATION
    insecure: bool = False  # serve plain HTTP on an address that is not loopback
    region: str = "us-east-1"
    account: str = "000000000000"
    auth: str = "keys"  # one of AUTH: whether requests need valid signatures
    roles: str = "strict"  # one of ROLES: how strictly roles are checked, see `hanabi.edge.auth.authorize`; "any" with `--auth none`
    iam: str = "default"  # one of IAM: whether policies alone say what roles may
    no_network: bool = False  # functions have no way out at all
    allow_net: tuple[str, ...] = ()  # private ranges that functions may reach, CIDR
    runtimes: str = "auto"  # one of `sources.CHOICES`: where runtimes come from
    registry_mirror: str = ""  # in place of AWS's registry of base images: HOST[:PORT][/PREFIX]
    runtime_images: Path | None = None  # a directory of OCI layouts of AWS's base images
    runtimes_missing: str = "refuse"  # or "pending": what becomes of a function whose runtime is not to be had
    runtime_substitute: tuple[tuple[str, str], ...] = ()  # (runtime, the one that is run for it)
    insecure_registry: tuple[str, ...] = ()  # registries that are spoken to without TLS, host or host:port; loopback ones are anyway
    function_endpoint: str = "served"  # one of ENDPOINTS, or a URL: which endpoint SDKs in functions use
    filesystem: tuple[tuple[str, Path], ...] = ()  # (ARN of an access point, folder): what FileSystemConfigs may name
    vpc: tuple[tuple[str, str, str], ...] = ()  # (VPC, subnet, CIDR): networks that VpcConfig may name
    s3_endpoint: str = ""  # the S3 that code is fetched from: a URL; empty: there is none
    s3_credentials: Path | None = None  # for it, in the format of ~/.aws/credentials; None: the AWS variables of the server
    layer_source: str = ""  # layers of other accounts: a directory or a URL; empty: there are none
    max_environments: int = 256  # of this host, all functions together
    max_memory_mb: int | None = None  # MB that all environments may have together; None: 80 % of the host's
    pool_size: int = 2  # environments kept ready for each runtime in use
    freeze_after_ms: int = 10
    trim_after_s: float = 30.0  # s; an environment without work for so long gives memory back
    hibernate_after_s: float = 300.0  # s; on microVMs, an environment without work for so long is written to disk
    idle_timeout_s: float = 600.0  # an environment without work for so long is shut down
    access_log: str = ""  # a file, "-" for standard output; empty: none
    no_prebuild: bool = False  # build no runtime root before a function wants it
    stream_mb_s: float = STREAMED_BYTES_PER_S / 1024**2  # bandwidth of a streamed response after its first 6 MB; 0: no limit
    drain_s: float = 60.0  # time for running work to end when the server is stopped
    firecracker: Path | None = None  # these three instead of what `hanabi images` has
    jailer: Path | None = None
    kernel: Path | None = None  # a vmlinux

    @property
    def runtime_sources(self) -> RuntimeSources:
        return RuntimeSources(
            choice=DISTRIBUTION if self.isolation == "process" else self.runtimes,  # there is nothing to run an image in
            mirror=self.registry_mirror,
            layouts=self.runtime_images,
            insecure_registries=self.insecure_registry,
            missing=self.runtimes_missing,
            substitutes=dict(self.runtime_substitute),
        )

    @property
    def keys_file(self) -> Path:
        return self.data_dir / "keys.json"

    def directory(self, name: str) -> Path:
        """Return a directory in the data directory, which may be a symbolic link to another disk."""
        return Path(os.path.realpath(self.data_dir / name))


def load_settings(flags: Mapping[str, Any], variables: Mapping[str, str] = os.environ) -> NodeSettings:
    """Load settings from flags (None: not given) and variables. Raises `SettingsError`."""
    values: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        given, source = flags.get(name), "--" + name.replace("_", "-")
        for variable in (f"HANABI_{name.upper()}", _AWS_VARIABLES.get(name, "")):
            if given is None and variable in variables:
                given, source = variables[variable], variable
        if given is None:
            continue
        try:
            values[name] = parse(given)
        except ValueError as error:
            raise SettingsError(f"{source}: {error}") from None
    if values.get("auth") == "none" and values.get("iam") != "enforce":
        values.setdefault("roles", "any")  # they may be another endpoint's
    values.setdefault("data_dir", _directory(default_data_dir(variables)))
    values.setdefault("images_dir", _directory(values["data_dir"] / "images"))
    settings = NodeSettings(**values)
    if settings.no_network and settings.allow_net:
        raise SettingsError("--no-network and --allow-net contradict each other")
    if settings.auth == "none" and not is_loopback(settings.host):
        raise SettingsError(f"--auth none is for loopback only, and --host {settings.host} is not: whoever reaches it could run code here")
    if settings.auth == "none" and settings.isolation == "process":
        raise SettingsError("--auth none is refused with --isolation process, whose functions reach this port and would be its owner")
    if settings.no_network and settings.vpc:
        raise SettingsError("--no-network and --vpc contradict each other")
    if settings.iam == "enforce" and settings.roles != "strict":
        raise SettingsError(f"--iam enforce and --roles {settings.roles} contradict each other")
    if settings.isolation == "process" and settings.runtimes == AWS:
        raise SettingsError("--runtimes aws is of no use with --isolation process, which has nothing to run an image in")
    if settings.s3_credentials is not None and not settings.s3_endpoint:
        raise SettingsError("--s3-credentials is of no use without --s3-endpoint")
    try:
        read_credentials(settings.s3_credentials, variables)
    except ValueError as error:
        raise SettingsError(f"--s3-credentials: {error}") from None
    unused = [f"--{name}" for name in ("firecracker", "jailer", "kernel") if getattr(settings, name) is not None]
    if unused and settings.isolation in ("oci", "process"):
        raise SettingsError(f"{', '.join(unused)}: of no use with --isolation {settings.isolation}, which makes no microVMs")
    if not settings.insecure and not is_loopback(settings.host):
        raise SettingsError(
            f"--host {settings.host} is not loopback and there is no TLS: whoever can listen in sees code and payloads. "
            "Give --insecure if that is meant"
        )
    return settings


def default_data_dir(variables: Mapping[str, str] = os.environ) -> Path:
    """Return the default data directory: the system's for root, else the user's own."""
    if os.geteuid() == 0:
        return SYSTEM_DATA_DIR
    home = variables.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "hanabi"


def guest_dir() -> Path:
    """Return the directory of guest files: beside the package in a checkout, else among the installed data files."""
    checkout = Path(__file__).resolve().parents[2] / "guest"
    if (checkout / "agent").is_dir():
        return checkout
    return Path(sysconfig.get_path("data")) / "share" / "hanabi" / "guest"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _directory(value: str | Path) -> Path:
    if not str(value):
        raise ValueError("a path is needed")
    return Path(os.path.realpath(Path(value).expanduser()))


def _file(value: str | Path) -> Path:
    """Resolve a file's directory, but not the file: files beside it are not those beside its link target."""
    if not Path(value).name:
        raise ValueError("the path of a file is needed")
    path = Path(value).expanduser()
    return _directory(path.parent) / path.name


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"{value!r} is not a whole number from {low} to {high}")
        return number

    return parse


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number <= 86_400:
        raise ValueError(f"{value!r} is not a number of seconds from 0 to 86400")
    return number


def _seconds_or_none(value: Any) -> float:
    return 0.0 if str(value) in ("0", "0.0") else _seconds(value)


def _mb_s(value: Any) -> float:
    rate = float(value)
    if not 0 <= rate < 1e6:
        raise ValueError(f"{value!r} is no number of MB a second; 0: no limit")
    return rate


def _switch(value: str | bool) -> bool:
    text = str(value).lower()
    if text not in ("1", "true", "yes", "0", "false", "no", ""):
        raise ValueError(f"{value!r} is neither 1 nor 0")
    return text in ("1", "true", "yes")


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in names:
            raise ValueError(f"{value!r} is none of {', '.join(names)}")
        return value

    return parse


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return parse


def _networks(value: str | list[str]) -> tuple[str, ...]:
    """Read a list: repeated flags, or one variable with commas."""
    given = value.split(",") if isinstance(value, str) else value
    return tuple(str(ip_network(each.strip())) for each in given if each.strip())


def _registries(value: str | list[str]) -> tuple[str, ...]:
    """Read a list: repeated flags, or one variable with commas."""
    parse = _matching(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?", "a registry's host, or host:port")
    given = value.split(",") if isinstance(value, str) else value
    return tuple(parse(each.strip()) for each in given if each.strip())


def _url(value: str, what: str = "a URL") -> str:
    return _matching(r"https?://[A-Za-z0-9.-]{1,253}(:\d{1,5})?(/[!-~]*)?", what)(value)


def _function_endpoint(value: str) -> str:
    return value if value in ENDPOINTS else _url(value, f"one of {', '.join(ENDPOINTS)}, or a URL")


def _substitutes(value: str | list[str]) -> tuple[tuple[str, str], ...]:
    """Read RUNTIME=RUNTIME: repeated flags, or one variable with commas. Both are of one language."""
    pairs = []
    for each in value.split(",") if isinstance(value, str) else value:
        runtime, _, other = (part.strip() for part in each.partition("="))
        if runtime not in NAMES or other not in NAMES or runtime == other or family_of(runtime)[0] != family_of(other)[0]:
            raise ValueError(
                f"{each!r} is not RUNTIME=RUNTIME with two of Lambda's runtimes of one language, such as python3.12=python3.13"
            )
        pairs.append((runtime, other))
    if len({runtime for runtime, _ in pairs}) < len(pairs) or {runtime for runtime, _ in pairs} & {other for _, other in pairs}:
        raise ValueError("a runtime has one substitute at most, which has none itself")
    return tuple(pairs)


_AWS_VARIABLES = {"s3_endpoint": "AWS_ENDPOINT_URL_S3"}  # that AWS's SDKs know, and say what a flag says
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "data_dir": _directory,
    "images_dir": _directory,
    "host": _matching(r"[A-Za-z0-9.:-]{1,255}", "a host name or address"),
    "port": _whole(1, 65_535),
    "isolation": _one_of(ISOLATION),
    "auth": _one_of(AUTH),
    "roles": _one_of(ROLES),
    "iam": _one_of(IAM),
    "insecure": _switch,
    "no_network": _switch,
    "no_prebuild": _switch,
    "access_log": lambda value: value if value in ("", "-") else str(_file(value)),
    "region": _matching(r"[a-z]{2,4}(-[a-z]+)+-\d", "an AWS region"),
    "account": _matching(r"\d{12}", "an account id of 12 digits"),
    "allow_net": _networks,
    "insecure_registry": _registries,
    "runtimes": _one_of(CHOICES),
    "registry_mirror": _matching(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?(/[a-z0-9._-]+)*|", "HOST[:PORT][/PREFIX]"),
    "runtime_images": _directory,
    "runtimes_missing": _one_of((REFUSE, PENDING)),
    "runtime_substitute": _substitutes,
    "filesystem": read_filesystems,
    "vpc": read_vpcs,
    "s3_endpoint": _url,
    "s3_credentials": _file,
    "layer_source": lambda value: value if value.startswith(("http://", "https://")) else str(_directory(value)),
    "max_environments": _whole(1, 100_000),
    "max_memory_mb": _whole(128, 1 << 30),
    "pool_size": _whole(0, 1_000),
    "freeze_after_ms": _whole(0, 3_600_000),
    "trim_after_s": _seconds,
    "hibernate_after_s": _seconds,
    "idle_timeout_s": _seconds,
    "drain_s": _seconds_or_none,
    "function_endpoint": _function_endpoint,
    "stream_mb_s": _mb_s,
    "firecracker": _file,
    "jailer": _file,
    "kernel": _file,
}
