"""Validation of IAM policy documents, in AWS's order and words. They are evaluated in `evaluate`.

AWS looks at a document several times: at its syntax, then with an older parser, then at what its statements name. The first fault is told.
"""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from hanabi.edge.auth.conditions import is_condition
from hanabi.errors import ApiError

_EFFECTS = ("Allow", "Deny")
_PAIRS = ("Action", "Resource", "Principal")
_TOP = frozenset({"Version", "Id", "Statement"})
_ELEMENTS = frozenset({"Sid", "Effect", "Condition", *_PAIRS, *(f"Not{element}" for element in _PAIRS)})
_NEWEST = "2012-10-17"
_VENDOR = re.compile(r"[a-zA-Z0-9.-]+|\*")
_PARTITIONS = frozenset({"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc", "*"})
_IAM_PATHS = (
    *("user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/", "sms-mfa/"),
    *("saml-provider/", "oidc-provider/", "report/", "access-report/"),
)
_PRINCIPAL = re.compile(r"\*|[0-9]{12}|arn:[a-z-]+:(?:iam|sts)::[0-9]{12}:.+|A[A-Z0-9]{15,127}", re.ASCII)
_DATE = re.compile(
    r"-?[0-9]{1,9}(?:-[0-9]{1,2}){0,2}(?:[tT](?:[0-9]{1,2}(?::[0-9]{1,2}){0,2}(?:\.[0-9]{1,9})?(?:[zZ]|\+[0-9]{2}(?::?[0-9]{2})?)?)?)?"
)


class MalformedPolicyDocument(ApiError):
    code = "MalformedPolicyDocument"
    status = 400


def check_document(text: str, *, trust: bool, managed: bool = False, resource: bool = False) -> None:
    """Raise `MalformedPolicyDocument` for a text that is not a policy.

    `trust`: the trust policy of a role. `resource`: the policy of another resource, whose statements say who and on what. `managed`: it
    must be of the newest version.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedPolicyDocument("This policy contains invalid Json") from None
    if not _is_policy(document):
        raise MalformedPolicyDocument("Syntax errors in policy.")
    if managed and document.get("Version") != _NEWEST:
        raise MalformedPolicyDocument(f"Policy document must be version {_NEWEST} or greater.")
    found = statements(document)
    wrong = "" if trust else next((wrong for statement in found for wrong in _wrong_resources(statement)), "")
    if not all(_is_parsed_by_the_older(statement, resources=not (wrong or trust)) for statement in found):
        raise MalformedPolicyDocument("The policy failed legacy parsing")
    sids = [statement["Sid"] for statement in found if statement.get("Sid")]
    if len(set(sids)) < len(sids):
        raise MalformedPolicyDocument("Statement IDs (SID) in a single policy must be unique.")
    if not all(statement.get("Action") or statement.get("NotAction") or statement.get("NotAction") == "" for statement in found):
        raise MalformedPolicyDocument("Policy statement must contain actions.")
    if wrong:
        raise MalformedPolicyDocument(wrong)
    for statement in found:
        for action in (*listed(statement.get("Action")), *listed(statement.get("NotAction"))):
            _check_action(action)
    for statement in found:
        _check_principals(statement, trust, resource)


def _is_policy(document: Any) -> bool:
    """Whether a document has the form of a policy. A condition with an unknown operator has, if it says nothing."""
    if not isinstance(document, dict) or not document.keys() <= _TOP or not isinstance(document.get("Id", ""), str):
        return False
    if document.get("Version", _NEWEST) not in (_NEWEST, "2008-10-17"):
        return False
    found = statements(document)
    return bool(found) and all(isinstance(statement, dict) and _is_statement(statement) for statement in found)


def _is_statement(statement: dict[str, Any]) -> bool:
    if not statement.keys() <= _ELEMENTS or any(positive in statement and f"Not{positive}" in statement for positive in _PAIRS):
        return False
    effect = statement.get("Effect")
    if not isinstance(effect, str) or effect.title() not in _EFFECTS or not isinstance(statement.get("Sid", ""), str):
        return False
    for element in ("Action", "NotAction", "Resource", "NotResource"):
        value = statement.get(element, "")
        nothing = element.endswith("Resource") and isinstance(value, list)  # a resource may be null in a list
        if not isinstance(value, str | list) or not all(isinstance(each, str) or (nothing and each is None) for each in listed(value)):
            return False
    return is_condition(statement.get("Condition", {}))


def _is_parsed_by_the_older(statement: dict[str, Any], *, resources: bool) -> bool:
    if statement["Effect"] not in _EFFECTS:
        return False
    for operator, keys in statement.get("Condition", {}).items():
        if "date" in operator.lower() and not all(_is_date(value) for values in keys.values() for value in listed(values)):
            return False
    for element in ("Resource", "NotResource") if resources else ():
        for resource in filter(None, listed(statement.get(element))):
            if resource != "*" and ((resource.count(":") < 5 and "::" in resource) or resource.split(":")[2:3] == [""]):
                return False
    return True


def _is_date(value: Any) -> bool:
    text = str(value)
    if text.isdecimal():
        return int(text) < 1 << 63 if len(text) < 20 else False
    if _DATE.fullmatch(text) is None:
        return False
    day, _, clock = text.lower().lstrip("-").partition("t")
    year, *rest = day.split("-")
    if int(year) > 292_278_993 or any(not 1 <= int(part) <= most for part, most in zip(rest, (12, 31), strict=False)):
        return False
    parts = re.split(r"[.z+]", clock, maxsplit=1)[0].split(":")
    return all(part == "" or int(part) <= most for part, most in zip(parts, (23, 59, 59), strict=False))


def _wrong_resources(statement: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the ARNs of a statement. Those of a list are in order."""
    for element in ("Resource", "NotResource"):
        value = statement.get(element)
        for resource in sorted(filter(None, value)) if isinstance(value, list) else listed(value):
            if (wrong := _wrong_resource(resource)) != "":
                yield wrong


def _wrong_resource(resource: str) -> str:
    if resource == "*":
        return ""
    _, colon, rest = resource.partition(":")
    if not colon:
        return f'Resource {resource} must be in ARN format or "*".'
    partition, colon, rest = rest.partition(":")
    if partition not in _PARTITIONS:
        parts = [*rest.split(":", 3), *"****"][:4] if rest else ["*"] * 4
        return f'Partition "{partition}" is not valid for resource "arn:{partition}:{":".join(parts)}".'
    if not colon:
        return "Resource vendor must be fully qualified and cannot contain regexes."
    service, _, rest = rest.partition(":")
    region, _, rest = rest.partition(":")
    _, _, name = rest.partition(":")
    if service == "iam" and region:
        return f"IAM resource {resource} cannot contain region information."
    if service == "s3" and region and not name.startswith("accesspoint/"):
        return f"Resource {resource} can not contain region information."
    if service == "iam" and not name.startswith(("*", *_IAM_PATHS)):
        return f'IAM resource path must either be "*" or start with {", ".join(_IAM_PATHS)}.'
    return ""


def _check_action(action: str) -> None:
    vendor, *rest = action.split(":")
    if not rest and action != "*":
        raise MalformedPolicyDocument("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
    if len(rest) > 1:
        raise MalformedPolicyDocument("Actions/Condition can contain only one colon.")
    if _VENDOR.fullmatch(vendor) is None:
        raise MalformedPolicyDocument(f"Vendor {vendor} is not valid")


def _check_principals(statement: dict[str, Any], trust: bool, resource: bool) -> None:
    """Check who and what a statement is about: each kind of policy must say one, and may not say the other."""
    has_resource = bool(statement.get("Resource") or statement.get("NotResource"))
    if trust and ("Resource" in statement or "NotResource" in statement):
        raise MalformedPolicyDocument("Has prohibited field Resource")
    if trust and "NotPrincipal" in statement:
        raise MalformedPolicyDocument("Has prohibited field NotPrincipal")
    has_principal = "Principal" in statement or "NotPrincipal" in statement
    if (trust or resource) and not has_principal:
        raise MalformedPolicyDocument("Missing required field Principal")
    if not (trust or resource) and has_principal:
        raise MalformedPolicyDocument("Policy document should not specify a principal.")
    if not trust and not has_resource:
        raise MalformedPolicyDocument("Policy statement must contain resources.")
    if trust:
        if not all(action.lower().startswith("sts:") for action in (*listed(statement.get("Action")), *listed(statement.get("NotAction")))):
            raise MalformedPolicyDocument("AssumeRole policy may only specify STS AssumeRole actions.")
        principal = statement["Principal"]
        for name in listed(principal.get("AWS") if isinstance(principal, dict) else principal):
            if not isinstance(name, str) or _PRINCIPAL.fullmatch(name) is None:
                raise MalformedPolicyDocument(f'Invalid principal in policy: "AWS":"{name}"')


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    return listed(document.get("Statement"))


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


@functools.lru_cache(maxsize=1024)
def read_document(text: str) -> dict[str, Any]:
    """Parse a document that passed `check_document`. The result is shared: do not change it."""
    document: dict[str, Any] = json.loads(text)
    return document
