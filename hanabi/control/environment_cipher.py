"""The encryption of functions' environment variables at rest, by a key of the data directory.

A document has in the place of the variables a text: `1:<id of the key>:<base64 of nonce and AES-256-GCM's output>`. The function's id is
authenticated with it, so that one function's variables cannot be put into another's document.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hanabi.base.files import write_whole
from hanabi.errors import StateDamaged

KEY_BYTES, NONCE_BYTES = 32, 12
_SEALED = re.compile(r"1:([0-9a-f]{16}):([A-Za-z0-9+/=]{1,262144})", re.ASCII)
_FIX = "put back a copy of it; or move it away, and functions lose the environment variables that they have"

Values = Mapping[str, Any]  # of a version's document


class EnvironmentCipher:
    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # here, so that commands do not load it

        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(b"hanabi environment key" + key).hexdigest()[:16]

    @classmethod
    def open(cls, path: Path) -> "EnvironmentCipher":
        """Read the key, made at the first start. A file that is no key is left as it is. Blocks. Raises `StateDamaged`."""
        try:
            text = path.read_text("ascii")
        except FileNotFoundError:
            text = base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n"
            write_whole(path, text)
        except (OSError, ValueError) as error:
            raise StateDamaged(path, f"cannot be read: {error}", _FIX) from None
        try:
            key = base64.b64decode(text.strip(), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise StateDamaged(path, "is damaged: it is no key", _FIX)
        return cls(key)

    def seal(self, version: Values, function_id: str) -> dict[str, Any]:
        """Return a version's document with its variables encrypted, if it has any."""
        variables = version["settings"]["environment"]
        if not variables:
            return dict(version)
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(variables).encode(), function_id.encode())
        text = f"1:{self.key_id}:{base64.b64encode(sealed).decode()}"
        return {**version, "settings": {**version["settings"], "environment": text}}

    def unseal(self, version: Any, function_id: Any) -> Any:
        """Undo `seal`; what is not encrypted stays. Raises `ValueError`."""
        from cryptography.exceptions import InvalidTag

        if not is_sealed(version):
            return version
        found = _SEALED.fullmatch(version["settings"]["environment"])
        if found is None:
            raise ValueError("has environment variables that are encrypted in a way that this Hanabi does not know")
        if found[1] != self.key_id:
            raise ValueError(f"has environment variables that are encrypted with the key {found[1]}, and environment.key is {self.key_id}")
        try:
            sealed = base64.b64decode(found[2], validate=True)
            text = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], str(function_id).encode())
        except (InvalidTag, ValueError):
            raise ValueError("has environment variables that were changed after they were encrypted") from None
        return {**version, "settings": {**version["settings"], "environment": json.loads(text)}}


def is_sealed(version: Any) -> bool:
    """Whether a version's document has encrypted variables."""
    return isinstance(_variables(version), str)


def is_plain(version: Any) -> bool:
    """Whether a version's document has variables that are not encrypted."""
    variables = _variables(version)
    return bool(variables) and isinstance(variables, dict)


def _variables(version: Any) -> Any:
    settings = version.get("settings") if isinstance(version, dict) else None
    return settings.get("environment") if isinstance(settings, dict) else None
