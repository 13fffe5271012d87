"""The host names that unsigned requests may use. Any other is refused as DNS rebinding: a web page whose name resolves to this host."""

import ipaddress
from collections.abc import Sequence

from hanabi.contracts.http import HttpRequest
from hanabi.errors import AccessDenied


class OwnHosts:
    """Loopback names, addresses, and `names`."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = frozenset(name.lower() for name in names)

    def __contains__(self, request: HttpRequest) -> bool:
        name = host_name(request)
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def check(self, request: HttpRequest) -> None:
        """Raise `AccessDenied` for any other name."""
        if request not in self:
            raise AccessDenied(f"The host name {host_name(request)[:100]!r} is not one of Hanabi's")


def host_name(request: HttpRequest) -> str:
    """Return the Host header's name in lower case, without port and brackets."""
    host = request.header("host").lower()
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
