"""Every kind of document in state.db: its version, and the migration steps of older ones.

    <account>/<region>/                 what an account has in a region: `control.planes`
        functions/<name>                a function: control/model.py, read by control/documents.py
        versions/<name>/<number>        a published version of it
        event-source-mappings/<uuid>    an event source mapping: control/event_source_mappings.py
        layers/<name>                   a layer: control/layers/model.py
        layer-versions/<name>/<number>  a version of it
        code-signing-configs/<id>       a code signing configuration: control/code_signing/model.py
    <account>/iam/                      what an account has in all regions: services/iam/
        role/<name>                     a role with its policies
        user/<name>, group/<name>, policy/<name>, instance-profile/<name>   likewise
        account/alias                   the account's alias
    node/identity                       the id of this state.db: images/identity.py
    node/home                           the first account and region of this state.db: control/home.py
    quarantine/<revision>/<key>         what was quarantined, text as it was

Before version 2 of state.db there was one account in one region: `move_home` moves its documents below their names.
A released step never changes. Add another one after it, and an example to the documents' tests.
"""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from hanabi.contracts.store import Document
from hanabi.control.arns import AccountRegion
from hanabi.store.formats import Format, Formats


def _drop_path(version: Any) -> Any:
    """Drop the path of code: it is found by its hash now."""
    if isinstance(version, dict) and isinstance(version.get("code"), dict):
        return {**version, "code": {key: value for key, value in version["code"].items() if key != "path"}}
    return version


def _function_1(document: Document) -> Document:
    return {key: _drop_path(value) if key in ("latest", "serving") else value for key, value in document.items()}


def _version_1(document: Document) -> Document:
    moved: Document = _drop_path(document)
    return moved


def _with_ciphertext(document: Document) -> Document:
    """Nothing changes: from here on `environment` may be an encrypted text (control/environment_cipher.py)."""
    return document


_ROLE_TEXTS = ("Path", "RoleName", "RoleId", "Arn", "AssumeRolePolicyDocument")


def _check_role(document: Document) -> None:
    """Check a role; optional missing fields get defaults."""
    document.setdefault("Description", None)
    for name, otherwise in (("MaxSessionDuration", 3600), ("Tags", []), ("Attached", []), ("Policies", {})):
        if type(document.setdefault(name, otherwise)) is not type(otherwise):
            raise ValueError(f"has a value of the wrong type: {name!r}")
    for name in _ROLE_TEXTS:
        if not isinstance(document[name], str):
            raise ValueError(f"has a value of the wrong type: {name!r}")
    if type(document["CreateDate"]) not in (int, float):
        raise ValueError("has a value of the wrong type: 'CreateDate'")
    if not all(isinstance(arn, str) for arn in document["Attached"]):
        raise ValueError("has attached policies that are no ARNs")
    for tag in document["Tags"]:
        if not (isinstance(tag["Key"], str) and isinstance(tag["Value"], str)):
            raise ValueError("has tags that cannot be")
    for text in (document["AssumeRolePolicyDocument"], *document["Policies"].values()):
        _check_policy(json.loads(text))


def _check_policy(policy: Any) -> None:
    statements = policy["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement["Effect"] not in ("Allow", "Deny"):
            raise ValueError("has a policy statement that neither allows nor denies")


def _check_identity(document: Document) -> None:
    if not isinstance(document["id"], str):
        raise ValueError("has no id")


def _check_home(document: Document) -> None:
    AccountRegion(document["account"], document["region"]).check()


FORMATS: Formats = {
    "*/*/functions/": Format((_function_1, _with_ciphertext)),  # checked when read: control/documents.py
    "*/*/versions/": Format((_version_1, _with_ciphertext)),
    "*/*/event-source-mappings/": Format(),  # likewise: control/event_source_mappings.py
    "*/*/layers/": Format(),  # likewise: control/layers/model.py
    "*/*/layer-versions/": Format(),
    "*/*/code-signing-configs/": Format(),  # likewise: control/code_signing/model.py
    "*/iam/role/": Format(check=_check_role),
    **{
        f"*/iam/{kind}/": Format() for kind in ("user", "group", "policy", "instance-profile", "account")
    },  # likewise: services/iam/entities.py
    "node/identity": Format(check=_check_identity),
    "node/home": Format(check=_check_home),
}


def move_home(home: AccountRegion) -> Callable[[sqlite3.Connection], None]:
    """Make the upgrade of state.db from version 1 to 2. `home`: the account and region of all that is in it."""

    def move(connection: sqlite3.Connection) -> None:
        elsewhere = "key GLOB 'node/*' OR key GLOB 'quarantine/*' OR key GLOB 'iam/*'"
        connection.execute(f"UPDATE documents SET key = ? || key WHERE NOT ({elsewhere})", (home.prefix,))
        connection.execute("UPDATE documents SET key = ? || key WHERE key GLOB 'iam/*'", (f"{home.account}/",))

    return move
