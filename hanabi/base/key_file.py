"""The owner's key in keys.json, read by the server and by every command. A file that cannot be read is never overwritten."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanabi.errors import StateDamaged, StateTooNew

VERSION = 1  # 0: from before it had one
_FIX = "put back a copy of it; or move it away, and the next `hanabi up` makes a new key (`hanabi env` prints it then)"
_WORD = re.compile(r"[ -~]{1,256}")


@dataclass(frozen=True, slots=True)
class OwnerKey:
    access_key: str
    secret_key: str = field(repr=False)
    region: str  # of the server that wrote it; empty before that
    account: str
    document: dict[str, Any] = field(repr=False)  # all that is in the file


def read_key(path: Path) -> OwnerKey:
    """Raises `StateDamaged`, `StateTooNew`, `FileNotFoundError` and `PermissionError`."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        raise StateDamaged(path, f"cannot be read: {error.strerror}", _FIX) from None
    except (ValueError, RecursionError) as error:
        raise StateDamaged(path, f"is damaged: {'it is empty' if _is_empty(path) else f'it is not JSON ({error})'}", _FIX) from None
    if not isinstance(document, dict):
        raise StateDamaged(path, "is damaged: it is no JSON object", _FIX)
    version = document.get("version", 0)
    if type(version) is not int or version < 0:
        raise StateDamaged(path, "is damaged: its version is no number", _FIX)
    if version > VERSION:
        raise StateTooNew(path, version, VERSION)
    for name in ("access_key", "secret_key", "region", "account"):
        value = document.get(name)
        if not (isinstance(value, str) and _WORD.fullmatch(value)):
            raise StateDamaged(path, f"is damaged: it has no {name}", _FIX)
    return OwnerKey(document["access_key"], document["secret_key"], document["region"], document["account"], document)


def fingerprint(access_key: str) -> str:
    """Identify a key without revealing its secret."""
    return hashlib.sha256(access_key.encode()).hexdigest()[:8]


def _is_empty(path: Path) -> bool:
    return path.stat().st_size == 0
