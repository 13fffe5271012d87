"""Tenant isolation (`TenancyConfig` PER_TENANT): an environment of such a function serves one tenant, for life.

A tenant's version of a function is a `FunctionVersion` with a key of its own, so whatever belongs to a key belongs to one tenant.
"""

from dataclasses import replace

from hanabi.contracts.functions import TENANT_MARK, Route
from hanabi.errors import InvalidParameterValue


def route_for(route: Route, tenant: str) -> Route:
    """Return the route of one invocation for a tenant; empty: for none.

    Raises `InvalidParameterValue` where one is missing, or too many.
    """
    version = route.version
    if not version.tenant_environments_max:
        if tenant:
            raise InvalidParameterValue(
                "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again."
            )
        return route
    if not tenant:
        raise InvalidParameterValue(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again."
        )
    return replace(route, version=replace(version, key=f"{version.key}{TENANT_MARK}{tenant}", tenant=tenant))
