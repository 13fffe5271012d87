"""Tenant isolation as a setting: it is fixed when a function is made, and excludes some others.

AWS Lambda developer guide, "Tenant isolation": supported features and limitations, considerations.
"""

from collections.abc import Mapping
from typing import Any

from hanabi.control.model import FunctionSettings
from hanabi.errors import InvalidParameterValue
from hanabi.quotas import ACCOUNT_CONCURRENCY, TENANT_ENVIRONMENTS_PER_CONCURRENCY

PER_TENANT = "PER_TENANT"


def read_tenancy(params: Mapping[str, Any]) -> str:
    """Read the mode of CreateFunction's `params`; empty: none."""
    return (params.get("TenancyConfig") or {}).get("TenantIsolationMode") or ""


def refuse_with_tenancy(settings: FunctionSettings, what: str) -> None:
    """Raise `InvalidParameterValue` if a function has tenant isolation, with which there is no `what`."""
    if settings.tenancy:
        raise InvalidParameterValue(f"{what} is not supported for functions with tenant isolation.")


def environments_max(settings: FunctionSettings, reserved: int | None) -> int:
    """Return how many environments there may be of all tenants together; 0: the function has no tenant isolation."""
    concurrency = ACCOUNT_CONCURRENCY if reserved is None else reserved
    return max(1, int(concurrency * TENANT_ENVIRONMENTS_PER_CONCURRENCY)) if settings.tenancy else 0
