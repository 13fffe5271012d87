"""Registry logins from the Docker configuration and its credential helpers.

`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`: `credHelpers` (one registry), `credsStore` (all), `auths` (in the file).
"""

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanabi.errors import ImageError
from hanabi.images.containers.reference import DOCKER_HUB

FILE_LIMIT_BYTES = 1 << 20  # bytes
HELPER_S = 30.0
HUB_KEY = "https://index.docker.io/v1/"

_HELPER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOKEN_USER = "<token>"  # what helpers call the user of an identity token


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    secret: str = field(repr=False)
    is_token: bool = False  # an identity token of OAuth 2, to be exchanged

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()


def find_login(host: str, variables: Mapping[str, str] = os.environ) -> Login | None:
    """Find the login for a registry; None: anonymous. Raises `ImageError` when the configuration or a helper is broken."""
    config = _read(variables)
    keys = _keys(host)
    helpers = _mapping(config.get("credHelpers"))
    named = next((helpers[key] for key in keys if key in helpers), config.get("credsStore"))
    if isinstance(named, str) and named:
        for key in keys:
            if login := _ask(named, key, variables):
                return login
    auths = _mapping(config.get("auths"))
    for key in keys:
        if login := _from_file(_mapping(auths.get(key)), key):
            return login
    return None


def _read(variables: Mapping[str, str]) -> dict[str, Any]:
    directory = variables.get("DOCKER_CONFIG") or os.path.join(variables.get("HOME") or os.path.expanduser("~"), ".docker")
    path = Path(directory) / "config.json"
    try:
        with path.open("rb") as file:
            config = json.loads(file.read(FILE_LIMIT_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from None
    return _mapping(config)


def _keys(host: str) -> list[str]:
    """The keys under which the configuration may have a registry."""
    if host == DOCKER_HUB:
        return [HUB_KEY, "index.docker.io", DOCKER_HUB, "registry-1.docker.io"]
    return [host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/", f"http://{host}"]


def _from_file(entry: Mapping[str, Any], key: str) -> Login | None:
    if isinstance(token := entry.get("identitytoken"), str) and token:
        return Login(_TOKEN_USER, token, is_token=True)
    if isinstance(auth := entry.get("auth"), str) and auth:
        try:
            user, colon, secret = base64.b64decode(auth, validate=True).decode().rstrip("\0").partition(":")
        except ValueError:
            raise ImageError(f"the `auth` of {key} in the Docker configuration is not base64") from None
        return Login(user, secret) if colon else None
    name, password = entry.get("username"), entry.get("password")
    return Login(name, password) if isinstance(name, str) and isinstance(password, str) and name else None


def _ask(helper: str, key: str, variables: Mapping[str, str]) -> Login | None:
    """Run `docker-credential-<helper> get`; None when it has no login."""
    if not _HELPER.fullmatch(helper):
        raise ImageError(f"the Docker configuration names a credential helper {helper[:80]!r}")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=HELPER_S, env=dict(variables))
    except FileNotFoundError:
        raise ImageError(f"{program}, which the Docker configuration names, is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{program} failed: {error}") from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if "not found" in said:
            return None
        raise ImageError(f"{program} failed with status {done.returncode}: {said[-300:]}")
    try:
        answer = _mapping(json.loads(done.stdout[:FILE_LIMIT_BYTES]))
    except ValueError:
        raise ImageError(f"{program} did not answer with JSON") from None
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None
    return Login(user, secret, is_token=user == _TOKEN_USER)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
