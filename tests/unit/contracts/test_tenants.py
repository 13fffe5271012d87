"""Routes of tenants."""

from dataclasses import replace

import pytest

from hanabi.contracts.functions import Route
from hanabi.contracts.tenants import route_for
from hanabi.errors import InvalidParameterValue
from tests.unit.triggers.support import make_route


def isolated(name: str = "hello") -> Route:
    route = make_route(name)
    return replace(route, version=replace(route.version, tenant_environments_max=2500))


def test_each_tenant_has_a_key_of_its_own() -> None:
    route = isolated()
    keys = {route_for(route, tenant).version.key for tenant in ("blue", "green", "blue:1", "b", "blue")}
    assert len(keys) == 4 and route.version.key not in keys
    assert route_for(route, "blue").version.tenant == "blue"
    assert route_for(route, "blue").invoked_arn == route.invoked_arn


def test_a_tenant_is_needed_or_must_not_be_there() -> None:
    with pytest.raises(InvalidParameterValue, match="The invoked function is enabled with tenancy configuration. Add a valid tenant ID"):
        route_for(isolated(), "")
    with pytest.raises(InvalidParameterValue, match="is not enabled with tenancy configuration"):
        route_for(make_route(), "blue")
    route = make_route()
    assert route_for(route, "") is route
