"""The keys of accounts in keys.json, read by the server and by every command. A file that cannot be read is never overwritten.

The first one is the owner's, of the node's own account; `keys` has further ones: [{"access_key", "secret_key", "account", "created"}].
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hanabi.errors import StateDamaged, StateTooNew

VERSION = 2  # 0: from before it had one; 1: from before there were keys of other accounts
_FIX = "put back a copy of it; or move it away, and the next `hanabi up` makes a new key (`hanabi env` prints it then)"
_WORD = re.compile(r"[ -~]{1,256}")


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A key that may do in its account what the account's root may."""

    access_key: str
    secret_key: str = field(repr=False)
    account: str
    created: float = 0.0  # Unix s


@dataclass(frozen=True, slots=True)
class OwnerKey:
    access_key: str
    secret_key: str = field(repr=False)
    region: str  # of the server that wrote it; empty before that
    account: str
    document: dict[str, Any] = field(repr=False)  # all that is in the file
    others: "tuple[AccountKey, ...]" = field(default=(), repr=False)

    @property
    def all(self) -> "tuple[AccountKey, ...]":
        return (AccountKey(self.access_key, self.secret_key, self.account), *self.others)


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
    others = tuple(_read_further(each, path) for each in _listed(document.get("keys", []), path))
    names = [document["access_key"], *(each.access_key for each in others)]
    if len(set(names)) < len(names):
        raise StateDamaged(path, "is damaged: it has a key twice", _FIX)
    return OwnerKey(document["access_key"], document["secret_key"], document["region"], document["account"], document, others)


def _listed(given: Any, path: Path) -> list[Any]:
    if not isinstance(given, list):
        raise StateDamaged(path, "is damaged: its keys are no list", _FIX)
    return given


def _read_further(given: Any, path: Path) -> AccountKey:
    texts = [str(given.get(name, "")) for name in ("access_key", "secret_key", "account")] if isinstance(given, dict) else [""]
    if not all(map(_WORD.fullmatch, texts)) or not re.fullmatch(r"[0-9]{12}", texts[-1]):
        raise StateDamaged(path, "is damaged: it has a key that cannot be read", _FIX)
    created = given.get("created", 0)
    return AccountKey(texts[0], texts[1], texts[2], created if type(created) in (int, float) else 0.0)


def fingerprint(access_key: str) -> str:
    """Identify a key without revealing its secret."""
    return hashlib.sha256(access_key.encode()).hexdigest()[:8]


def _is_empty(path: Path) -> bool:
    return path.stat().st_size == 0
