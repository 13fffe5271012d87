"""Validation of IAM policy documents. They are evaluated in `evaluate`."""

import functools
import json
from typing import Any

from hanabi.edge.auth.conditions import is_condition
from hanabi.errors import ApiError

_EFFECTS = ("Allow", "Deny")
_PAIRS = ("Action", "Resource", "Principal")
_ELEMENTS = frozenset({"Sid", "Effect", "Condition", *_PAIRS, *(f"Not{element}" for element in _PAIRS)})


class MalformedPolicyDocument(ApiError):
    code = "MalformedPolicyDocument"
    status = 400


def check_document(text: str, *, trust: bool, resource: bool = False) -> None:
    """Raise `MalformedPolicyDocument` for a text that is not a policy.

    `trust`: the trust policy of a role. `resource`: the policy of another resource, whose statements say who and on what.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedPolicyDocument("This policy contains invalid Json") from None
    if not isinstance(document, dict) or document.get("Version", "2008-10-17") not in ("2012-10-17", "2008-10-17"):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    found = statements(document)
    if not found or not all(isinstance(statement, dict) for statement in found):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    for statement in found:
        _check_statement(statement, trust, resource)


def _check_statement(statement: dict[str, Any], trust: bool, resource: bool) -> None:
    if statement.get("Effect") not in _EFFECTS:
        raise MalformedPolicyDocument("Syntax errors in policy.")
    if any(key not in _ELEMENTS for key in statement) or any(
        positive in statement and f"Not{positive}" in statement for positive in _PAIRS
    ):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    for element in ("Action", "NotAction", "Resource", "NotResource"):
        if not all(isinstance(text, str) for text in listed(statement.get(element))):
            raise MalformedPolicyDocument("Syntax errors in policy.")
    if not is_condition(statement.get("Condition", {})):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    if not statement.get("Action") and not statement.get("NotAction"):
        raise MalformedPolicyDocument("Policy statement must contain actions.")
    has_resource = "Resource" in statement or "NotResource" in statement
    has_principal = "Principal" in statement or "NotPrincipal" in statement
    if trust and has_resource:
        raise MalformedPolicyDocument("Has prohibited field Resource")
    if trust and "NotPrincipal" in statement:
        raise MalformedPolicyDocument("Has prohibited field NotPrincipal")
    if (trust or resource) and not has_principal:
        raise MalformedPolicyDocument("Missing required field Principal")
    if not (trust or resource) and has_principal:
        raise MalformedPolicyDocument("Policy document should not specify a principal.")
    if not trust and not has_resource:
        raise MalformedPolicyDocument("Policy statement must contain resources.")


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    return listed(document.get("Statement"))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


@functools.lru_cache(maxsize=256)
def read_document(text: str) -> dict[str, Any]:
    """Parse a document that passed `check_document`. The result is shared: do not change it."""
    document: dict[str, Any] = json.loads(text)
    return document
