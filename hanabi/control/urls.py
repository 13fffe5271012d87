"""Function URLs. Pure: each function takes a function value and returns a new one."""

import secrets
import string
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hanabi.control.arns import LATEST, is_alias
from hanabi.control.model import Function, Url
from hanabi.control.tenancy import refuse_with_tenancy
from hanabi.errors import ResourceConflict, ResourceNotFound, ValidationError

_LETTERS = string.ascii_lowercase + string.digits


def new_url_id() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(32))


def check_qualifier(qualifier: str | None) -> None:
    """Check a URL's qualifier: none (`$LATEST`) or an alias."""
    if qualifier is not None and not is_alias(qualifier):
        raise ValidationError(
            f"1 validation error detected: Value '{qualifier}' at 'qualifier' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"
        )


def find_url(function: Function | None, qualifier: str | None) -> Url:
    url = function.urls.get(qualifier or LATEST) if function else None
    if url is None:
        raise ResourceNotFound("The resource you requested does not exist.")
    return url


def check_owner(function: Function | None, qualifier: str | None) -> Function:
    """Return the function if it and its alias exist."""
    if function is None or (qualifier is not None and qualifier not in function.aliases):
        raise ResourceNotFound("Function does not exist")
    return function


def add_url(function: Function, qualifier: str | None, params: Mapping[str, Any], now_ms: int) -> Function:
    """Add a URL. `params` are CreateFunctionUrlConfig's."""
    check_owner(function, qualifier)
    refuse_with_tenancy(function.latest.settings, "A function URL")
    arn = f"{function.arn}:{qualifier}" if qualifier else function.arn
    if (qualifier or LATEST) in function.urls:
        raise ResourceConflict(
            f"Failed to create function url config for [functionArn = {arn}]. "
            "Error message:  FunctionUrlConfig exists for this Lambda function"
        )
    url = Url(
        id=new_url_id(),
        function=function.name,
        qualifier=qualifier,
        auth_type=params["AuthType"],
        cors=params.get("Cors") or None,
        created_ms=now_ms,
        modified_ms=now_ms,
        invoke_mode=params.get("InvokeMode"),
    )
    return _with_url(function, url)


def change_url(function: Function, qualifier: str | None, params: Mapping[str, Any], now_ms: int) -> Function:
    """Change a URL. `params` are UpdateFunctionUrlConfig's."""
    check_owner(function, qualifier)
    url = find_url(function, qualifier)
    if params.get("AuthType"):
        url = replace(url, auth_type=params["AuthType"])
    if params.get("InvokeMode"):
        url = replace(url, invoke_mode=params["InvokeMode"])
    if params.get("Cors") is not None:
        url = replace(url, cors=params["Cors"] or None)
    return _with_url(function, replace(url, modified_ms=now_ms))


def remove_url(function: Function, qualifier: str | None) -> Function:
    gone = find_url(function, qualifier)
    return replace(function, urls={key: url for key, url in function.urls.items() if url is not gone})


def _with_url(function: Function, url: Url) -> Function:
    return replace(function, urls={**function.urls, url.qualifier or LATEST: url})
