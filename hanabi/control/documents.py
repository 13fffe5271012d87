"""Reads the documents of functions and versions into complete, valid values. Raises `ValueError` with what is wrong.

A missing field gets its default, if it has one. An unknown field is refused: its writer meant something by it, and the
next change would lose it.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hanabi.control.arns import LATEST, LATEST_PUBLISHED, is_alias, is_version
from hanabi.control.log_settings import check_log_settings
from hanabi.control.model import (
    UPDATE_MODES,
    Alias,
    AttachedLayer,
    Code,
    EventConfig,
    Function,
    FunctionSettings,
    ProvisionedConfig,
    Url,
    Version,
)
from hanabi.control.tenancy import PER_TENANT
from hanabi.control.values import build as _build
from hanabi.control.values import need as _need
from hanabi.quotas import (
    ACCOUNT_CONCURRENCY,
    EVENT_AGE_MAX_S,
    EVENT_AGE_MIN_S,
    EVENT_RETRIES_MAX,
    FUNCTION_NAME_CHARS,
    MEMORY_MAX_MB,
    MEMORY_MIN_MB,
    TIMEOUT_MAX_S,
    TMP_MAX_MB,
    TMP_MIN_MB,
)

T = TypeVar("T")
_NAME = re.compile(r"[a-zA-Z0-9_-]+", re.ASCII)
_SNAPSHOT = re.compile(r"[a-zA-Z0-9-]{0,64}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STATES = ("Pending", "Active", "Inactive", "Failed")
_UPDATES = (None, "Successful", "Failed", "InProgress")
_CORS = {"AllowCredentials": bool, "MaxAge": int}  # the other ones are lists of strings
_CORS_LISTS = ("AllowHeaders", "AllowMethods", "AllowOrigins", "ExposeHeaders")


def read_function(document: Mapping[str, Any], name: str, arn: str, versions: Mapping[str, Mapping[str, Any]]) -> Function:
    """Read a function. `versions` holds the documents of its published versions, by number."""
    _need(bool(_NAME.fullmatch(name)) and len(name) <= FUNCTION_NAME_CHARS, "is of no function that can be")
    numbers = _list(document["versions"], str, "versions")
    _need(
        len(set(numbers)) == len(numbers) and all(is_version(each) or each == LATEST_PUBLISHED for each in numbers),
        "names versions that cannot be",
    )
    for number in numbers:
        _need(number in versions, f"names version {number}, and the document versions/{name}/{number} is gone, or damaged")
    function = _build(
        Function,
        {
            **document,
            "name": name,
            "arn": arn,
            "latest": _read_latest(document["latest"]),
            "serving": _read_latest(document["serving"]) if document.get("serving") is not None else None,
            "versions": {number: _read_published(versions[number], number, document["id"]) for number in numbers},
            "aliases": {alias.name: alias for alias in _each(Alias, document.get("aliases", []), "aliases")},
            "urls": {url.qualifier or LATEST: url for url in _each(Url, document.get("urls", []), "urls")},
            "policies": _policies(document.get("policies", {})),
            "provisioned": {each.qualifier: each for each in _each(ProvisionedConfig, document.get("provisioned", []), "provisioned")},
            "event_configs": {each.qualifier: each for each in _each(EventConfig, document.get("event_configs", []), "event_configs")},
        },
        "it",
    )
    _check_function(function)
    return function


def _check_function(function: Function) -> None:
    _need(
        function.last_version >= max((int(number) for number in function.versions if number != LATEST_PUBLISHED), default=0),
        "has a last_version that is not the last",
    )
    _need(function.reserved is None or 0 <= function.reserved <= ACCOUNT_CONCURRENCY, "reserves what no account has")
    known = {LATEST, *function.versions}
    for alias in function.aliases.values():
        _need(is_alias(alias.name), f"has an alias that cannot be: {alias.name!r}")
        _need({alias.version, alias.other or alias.version} <= known, f"has an alias of a version that is not there: {alias.name}")
        _need(0 <= alias.weight <= 1, f"has an alias of an impossible weight: {alias.name}")
    for url in function.urls.values():
        _need(url.function == function.name, "has a URL of another function")
        _need(url.qualifier is None or is_alias(url.qualifier), "has a URL of an alias that cannot be")
        _need(url.auth_type in ("NONE", "AWS_IAM"), f"has a URL with the AuthType {url.auth_type!r}")
        _need(url.invoke_mode in (None, "BUFFERED", "RESPONSE_STREAM"), f"has a URL with the InvokeMode {url.invoke_mode!r}")
        _check_cors(url.cors or {})
    for qualifier in function.policies:
        _need(qualifier in known or qualifier in function.aliases, f"has a policy of {qualifier!r}, which is not there")
    for config in function.provisioned.values():
        _need(0 < config.requested <= ACCOUNT_CONCURRENCY, "provisions what no account has")
        alias_of = function.aliases.get(config.qualifier)
        number = alias_of.version if alias_of else config.qualifier
        _need(number in function.versions, f"provisions {config.qualifier!r}, which is not there")
    for events in function.event_configs.values():
        _need(
            events.qualifier in known or events.qualifier in function.aliases, f"has a config of {events.qualifier!r}, which is not there"
        )
        _need(events.retries is None or 0 <= events.retries <= EVENT_RETRIES_MAX, "retries events more often than can be")
        _need(events.age_s is None or EVENT_AGE_MIN_S <= events.age_s <= EVENT_AGE_MAX_S, "keeps events for a time that cannot be")


def _check_cors(cors: Mapping[str, Any]) -> None:
    for key, value in cors.items():
        if key in _CORS_LISTS:
            _list(value, str, key)
        else:
            _need(key in _CORS and type(value) is _CORS[key], f"has CORS settings that cannot be: {key}")


def _read_latest(document: Any) -> Version:
    version = _read_version(document)
    _need(version.number == LATEST, f"has {version.number!r} in the place of {LATEST}")
    return version


def _read_published(document: Mapping[str, Any], number: str, function_id: Any) -> Version:
    try:
        _need(document["function"] == function_id, "belongs to another function")
        version = _read_version({key: value for key, value in document.items() if key != "function"})
        _need(version.number == number, f"has the number {version.number!r}")
        return version
    except ValueError as error:
        raise ValueError(f"names version {number}, whose document {error}") from None


def _read_version(document: Any) -> Version:
    _need(isinstance(document, dict), "has no object where a version is expected")
    settings = _read_settings(document["settings"])
    code = _build(Code, document["code"], "code")
    _need(
        MEMORY_MIN_MB <= settings.memory_mb <= MEMORY_MAX_MB
        and 1 <= settings.timeout_s <= TIMEOUT_MAX_S
        and TMP_MIN_MB <= settings.tmp_mb <= TMP_MAX_MB,
        "has a size beyond limits",
    )
    _need(settings.package in ("Zip", "Image") and (settings.package == "Image") == bool(code.image), "has code of another package type")
    if code.image:
        _need(bool(_DIGEST.fullmatch(code.sha256)), "has an image without a digest")
    else:
        _check_sha256(code.sha256)
    check_log_settings(settings)
    _need(settings.tenancy in ("", PER_TENANT), f"has the tenant isolation {settings.tenancy!r}")
    for key, value in (settings.image_config or {}).items():
        if key in ("EntryPoint", "Command"):
            _list(value, str, key)
        else:
            _need(key == "WorkingDirectory" and isinstance(value, str), f"has an ImageConfig that cannot be: {key}")
    version = _build(Version, {**document, "settings": settings, "code": code}, "a version")
    _need(version.state in _STATES and version.update in _UPDATES, f"has a state that cannot be: {version.state!r}, {version.update!r}")
    _need(version.runtime_update in UPDATE_MODES, f"has the runtime update mode {version.runtime_update!r}")
    _need(bool(_SNAPSHOT.fullmatch(version.snapshot)), "has a snapshot whose name is none")
    return version


def _read_settings(document: Any) -> FunctionSettings:
    _need(isinstance(document, dict), "has no object where settings is expected")
    layers = tuple(_each(AttachedLayer, document.get("layers", []), "layers"))
    for layer in layers:
        _check_sha256(layer.sha256)
    return _build(FunctionSettings, {**document, "layers": layers}, "settings")


def _check_sha256(sha256: str) -> None:
    _need(len(base64.b64decode(sha256, validate=True)) == 32, "has code without a SHA-256")


def _policies(given: Any) -> dict[str, tuple[Mapping[str, Any], ...]]:
    _need(isinstance(given, dict), "has policies that are no object")
    policies = {}
    for qualifier, statements in given.items():
        for statement in _list(statements, dict, "policies"):
            _need(isinstance(statement.get("Sid", ""), str), "has a policy statement with a Sid that is no text")
        policies[qualifier] = tuple(statements)
    return policies


def _each(kind: type[T], given: Any, where: str) -> Iterable[T]:
    return [_build(kind, values, where) for values in _list(given, dict, where)]


def _list(given: Any, kind: type, where: str) -> list[Any]:
    _need(
        isinstance(given, list) and all(type(each) is kind for each in given), f"has something else than a list of {kind.__name__}: {where}"
    )
    found: list[Any] = given
    return found
