"""Who may sign: keys of accounts, kept on disk, those of IAM's users, and session credentials, kept in memory.

Session credentials do not survive a restart: environments end with theirs, and a caller of AssumeRole asks again,
as it must when they expire.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.files import write_whole
from hanabi.base.key_file import VERSION, AccountKey, OwnerKey, read_key
from hanabi.contracts.credentials import Credentials, Principal, Session
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.sessions import Sessions
from hanabi.errors import ApiError
from hanabi.quotas import ENVIRONMENT_CREDENTIALS_S

ACCOUNT_KEYS_MAX = 1_000
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class TooManyKeys(ApiError):
    code = "LimitExceeded"
    status = 409


@dataclass(slots=True)
class Key:
    """One access key, with its secret and whom it speaks for."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)  # "" for the owner's key
    principal: Principal
    expires: float = 0.0  # Unix s; 0: until revoked
    # By scope: what HMAC-SHA256 with the derived key begins with, inside and outside: each signature goes on from copies.
    signing: dict[str, "tuple[hashlib._Hash, hashlib._Hash]"] = field(default_factory=dict, repr=False)


def make_id(prefix: str, length: int = 16) -> str:
    return prefix + "".join(secrets.choice(_BASE32) for _ in range(length))


def role_id(role_arn: str) -> str:
    """Derive the unique id of a role from its ARN, so that roles unknown to IAM have one too."""
    return "AROA" + base64.b32encode(hashlib.sha256(role_arn.encode()).digest()).decode()[:17]


def session_principal(role_arn: str, session_name: str, function_arn: str = "", session: Session | None = None) -> Principal:
    _, partition, _, _, account, _ = role_arn.split(":", 5)
    name = role_arn.rpartition("/")[2]
    return Principal(
        account=account,
        arn=f"arn:{partition}:sts::{account}:assumed-role/{name}/{session_name}",
        user_id=f"{role_id(role_arn)}:{session_name}",
        is_root=False,
        role=role_arn,
        function=function_arn,
        session=session,
    )


def user_principal(user_arn: str, user_id: str) -> Principal:
    """Make the principal of an IAM user."""
    return Principal(account=user_arn.split(":")[4], arn=user_arn, user_id=user_id, is_root=False, user=user_arn)


def root_principal(account: str, partition: str) -> Principal:
    """Make the principal of an account itself."""
    return Principal(account=account, arn=f"arn:{partition}:iam::{account}:root", user_id=account, is_root=True)


class KeyRing:
    """All keys the edge accepts. Implements `contracts.CredentialIssuer`."""

    def __init__(self, root: Key, clock: Clock, path: Path | None = None) -> None:
        self.root = root
        self._clock = clock
        self._path = path
        self._keys = {root.access_key: root}
        self._sessions = Sessions(self.revoke, root.principal.arn)
        self._used: dict[str, dict[str, Any]] = {}

    @classmethod
    def open(cls, path: Path, *, region: str, account: str, clock: Clock) -> "KeyRing":
        """Load the owner's key from `path`, or create one there at first start. Raises `StateError` for an unreadable file."""
        others: tuple[AccountKey, ...] = ()
        try:
            found = read_key(path)
            saved, others = found.document, found.others
        except FileNotFoundError:
            saved = {"access_key": make_id("AKIA"), "secret_key": _make_secret()}
        document = {**saved, "version": VERSION, "region": region, "account": account}
        if document != saved:
            _write_private(path, document)
        partition = AccountRegion(account, region).partition
        ring = cls(Key(saved["access_key"], saved["secret_key"], "", root_principal(account, partition)), clock, path)
        for each in others:
            ring._keys[each.access_key] = Key(each.access_key, each.secret_key, "", root_principal(each.account, partition))
        return ring

    # --- keys of accounts, which are kept -----------------------------------------------------------------------------

    def account_keys(self) -> tuple[AccountKey, ...]:
        """Return the keys of accounts, the owner's first. Raises `StateError`."""
        return read_key(self._file).all

    def create_account_key(self, account: str) -> AccountKey:
        """Make a key of an account, and keep it. Raises `TooManyKeys`, `StateError` and `OSError`."""
        found = read_key(self._file)
        if len(found.others) >= ACCOUNT_KEYS_MAX:
            raise TooManyKeys(f"There are {ACCOUNT_KEYS_MAX} keys already: delete one that is not needed")
        made = AccountKey(make_id("AKIA"), _make_secret(), account, round(self._clock.time()))
        self._save(found, (*found.others, made))
        partition = self.root.principal.arn.split(":")[1]
        self._keys[made.access_key] = Key(made.access_key, made.secret_key, "", root_principal(account, partition))
        return made

    def delete_account_key(self, access_key: str) -> bool:
        """Delete a key of an account; False: there is none. The owner's own cannot be deleted."""
        found = read_key(self._file)
        kept = tuple(each for each in found.others if each.access_key != access_key)
        if len(kept) == len(found.others):
            return False
        self._save(found, kept)
        self.revoke(access_key)
        return True

    @property
    def _file(self) -> Path:
        assert self._path is not None, "these keys are in no file"
        return self._path

    def _save(self, found: OwnerKey, others: Iterable[AccountKey]) -> None:
        """Write the file, which stays its owner's: the user behind sudo reads it too."""
        owner = self._file.stat()
        _write_private(self._file, {**found.document, "version": VERSION, "keys": [asdict(each) for each in others]})
        if os.geteuid() == 0:
            os.chown(self._file, owner.st_uid, owner.st_gid)

    # --- all keys -----------------------------------------------------------------------------------------------------

    def lookup(self, access_key: str) -> Key | None:
        return self._keys.get(access_key)

    def is_root(self, access_key: str) -> bool:
        """Whether an access key is that of an account itself."""
        key = self._keys.get(access_key)
        return key is not None and key.principal.is_root

    def issue(self, role_arn: str, session_name: str, function_arn: str = "") -> Credentials:
        """Issue an environment's credentials, valid until revoked, for twelve hours at most. A session name has at least two characters."""
        if len(session_name) < 2:
            session_name += "@lambda_function"
        return self._issue(session_principal(role_arn, session_name, function_arn), self._clock.time() + ENVIRONMENT_CREDENTIALS_S)

    def assume(self, role_arn: str, session_name: str, seconds: float, caller: Principal, session: Session | None = None) -> Credentials:
        """Issue credentials that expire, for AssumeRole called by `caller`."""
        session = session or Session(self._clock.time())
        return self.open_session(session_principal(role_arn, session_name, session=session), seconds, caller)

    def open_session(self, principal: Principal, seconds: float, caller: Principal) -> Credentials:
        """Issue credentials of a principal that expire. They count among the caller's sessions."""
        now = self._clock.time()
        share = self._sessions.make_room(caller, now)
        credentials = self._issue(principal, now + seconds)
        self._sessions.add(share, credentials.access_key, credentials.expires)
        return credentials

    def put(self, key: Key) -> None:
        """Accept a long-term key, of an IAM user, until it is revoked. One with the same access key is replaced."""
        if key.access_key != self.root.access_key:
            self._keys[key.access_key] = key

    def revoke(self, access_key: str) -> None:
        if access_key != self.root.access_key:
            self._keys.pop(access_key, None)
            self._used.pop(access_key, None)

    def note_use(self, access_key: str, service: str, region: str) -> None:
        """Note that a key of a user was used."""
        if access_key in self._keys:
            self._used[access_key] = {"LastUsedDate": int(self._clock.time()), "ServiceName": service, "Region": region}

    def last_used(self, access_key: str) -> dict[str, Any] | None:
        """Return when, where and for what a user's key was used since this server began, as IAM's `AccessKeyLastUsed`."""
        return self._used.get(access_key)

    def _issue(self, principal: Principal, expires: float) -> Credentials:
        secret = _make_secret()
        token = base64.b64encode(secrets.token_bytes(96)).decode()
        key = Key(make_id("ASIA"), secret, token, principal, expires)
        self._keys[key.access_key] = key
        return Credentials(access_key=key.access_key, secret_key=secret, session_token=token, expires=expires)


def _make_secret() -> str:
    return base64.b64encode(secrets.token_bytes(30)).decode()


def _write_private(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(document, indent=2) + "\n")
