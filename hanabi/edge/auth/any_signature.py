"""`hanabi up --auth none`: whoever reaches the port may call, with any signature or none.

An access key id of 12 digits is the account that calls. One that was issued here (of an account, a user or a role's session) speaks
for whom it was issued to. Every other one is the node's own account. Only what no browser sends on behalf of a web page is taken: so that
a page that somebody looks at cannot use the API.
"""

import re
from urllib.parse import unquote

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion, is_account
from hanabi.edge.auth.keys import KeyRing, root_principal
from hanabi.edge.auth.sigv4 import Verifier
from hanabi.edge.hosts import OwnHosts
from hanabi.errors import AccessDenied, ExpiredToken

CHOICE = "--auth none: everybody who reaches this port may do everything, as any account; requests need no valid signature"
_SCOPE = re.compile(r"Credential=([^/,\s]{0,128})/[^/,\s]{0,16}/([^/,\s]{1,64})/")


class AnySignature(Verifier):
    """A verifier that takes any signature. Requests from inside environments (`only`) need a valid one, as ever."""

    def __init__(self, keys: KeyRing, clock: Clock, region: str, hosts: OwnHosts) -> None:
        super().__init__(keys, clock, region)
        self._hosts = hosts
        self._region = region
        self._roots: dict[str, Principal] = {}  # by account, bounded

    def knows(self, access_key: str) -> bool:
        return True

    def is_root(self, access_key: str) -> bool:
        key = self._keys.lookup(access_key)
        return key is None or key.principal.is_root

    async def verify(self, request: HttpRequest, service: str, *, only: str | None = None) -> Principal:
        return self._take(request) if only is None else await super().verify(request, service, only=only)

    def verify_small(self, request: HttpRequest, service: str, only: str | None = None) -> Principal:
        return self._take(request) if only is None else super().verify_small(request, service, only)

    def _take(self, request: HttpRequest) -> Principal:
        self._refuse_pages(request)
        access_key, region = _stated(request)
        key = self._keys.lookup(access_key)
        if key is not None and key.expires and key.expires <= self._clock.time():
            raise ExpiredToken("The security token included in the request is expired")
        if key is not None:
            principal = key.principal
        elif is_account(access_key):
            principal = self._root_of(access_key)
        else:
            principal = self._keys.root.principal
        request.verified, request.account = True, principal.account
        request.region = region if region in self._regions else self._region
        return principal

    def _root_of(self, account: str) -> Principal:
        known = self._roots.get(account)
        if known is None:
            if len(self._roots) >= 1024:
                self._roots.clear()
            known = self._roots[account] = root_principal(account, AccountRegion(account, self._region).partition)
        return known

    def _refuse_pages(self, request: HttpRequest) -> None:
        """Raise `AccessDenied` for what a browser sends for a web page: another host name, an origin. SDKs and tools send neither."""
        self._hosts.check(request)
        fields = request.fields
        if "origin" in fields or "referer" in fields or fields.get("sec-fetch-site", "none") != "none":
            raise AccessDenied("Web pages may not use this API (--auth none takes no requests with an Origin, a Referer or Sec-Fetch-Site)")


def _stated(request: HttpRequest) -> tuple[str, str]:
    """Return the (access key, region) that a request states, in its header or its query; empty texts if it states none."""
    if (found := _SCOPE.search(request.header("authorization")[:1024])) is not None:
        return found[1], found[2]
    if "X-Amz-Credential=" in request.query:
        parts = unquote(request.query.partition("X-Amz-Credential=")[2].partition("&")[0][:1024]).rsplit("/", 4)
        if len(parts) == 5:
            return parts[0], parts[2]
    return "", ""
