"""The edge: routes every request of a node's port by its host and path."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import Answer, HttpHandler, HttpRequest, HttpResponse
from hanabi.edge import welcome_page
from hanabi.edge.api import Api, Authorize
from hanabi.edge.auth.any_signature import AnySignature
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.auth.sigv4 import Verifier, find_signature_claim
from hanabi.edge.frontend import Frontend
from hanabi.edge.hosts import OwnHosts
from hanabi.edge.own_endpoints import PREFIX, OwnEndpoint, OwnEndpoints
from hanabi.edge.service import DOCUMENT_BYTES, Service
from hanabi.http.handlers import in_task
from hanabi.http.limits import BodyRule

_HOSTS_REMEMBERED = 1024
_HOST_CHARS = 300  # longer ones are not remembered


class Edge:
    """The router of one port: hosts of `frontends`, `endpoints` below `/_hanabi/`, and the API of `services` for the rest.

    `hosts` are names, besides loopback ones, that unsigned requests may use. `authorize` and `spool` are passed to the API.
    `any_signature`: as `hanabi.edge.auth.any_signature` says, whatever the signatures are.
    """

    def __init__(
        self,
        services: Sequence[Service],
        keys: KeyRing,
        clock: Clock,
        region: str,
        *,
        frontends: Sequence[Frontend] = (),
        endpoints: Sequence[OwnEndpoint] = (),
        hosts: Sequence[str] = (),
        authorize: Authorize | None = None,
        spool: Path | None = None,
        any_signature: bool = False,
    ) -> None:
        self._own_hosts = OwnHosts(hosts)
        verifier = AnySignature(keys, clock, region, self._own_hosts) if any_signature else Verifier(keys, clock, region)
        self.api = Api(services, verifier, clock, authorize=authorize, spool=spool)
        self.draining = False  # nothing new is taken, but from inside environments: what runs there is to end well
        self._own = OwnEndpoints(endpoints, self.api.verifier, self._own_hosts, keys.root.principal.account)
        self._handle_own = in_task(self._own.handle)
        self._frontends = tuple(frontends)
        self._frontend_handlers = {frontend: in_task(frontend.handle) for frontend in frontends}
        self._frontend_of: dict[str, Frontend | None] = {}  # by Host header

    def handle(self, request: HttpRequest, answer: Answer) -> None:
        """Handle a request on the node's port, as an `HttpHandler`."""
        frontend = self._find_frontend(request)
        if frontend is not None:
            self._frontend_handlers[frontend](request, answer)
        elif request.path.startswith(PREFIX):
            self._handle_own(request, answer)
        elif self.draining:
            answer(self.api.unavailable(request))
        elif welcome_page.is_asked_for(request) and request in self._own_hosts:
            answer(welcome_page.answer())
        else:
            self.api.handle(request, answer)

    def handler_for(self, access_key: str) -> HttpHandler:
        """Make the handler of a socket from inside an environment: the API only, for that access key only."""
        return lambda request, answer: self.api.handle(request, answer, access_key)

    def body_rule_for(self, access_key: str) -> Callable[[HttpRequest], BodyRule]:
        """Make the body rule of a socket from inside an environment: what does not name its key is small, whatever it names."""
        return lambda request: self.api.body_rule(request) if find_signature_claim(request)[0] == access_key else BodyRule(DOCUMENT_BYTES)

    def drain(self) -> None:
        """Refuse new requests from now on, those of frontends too."""
        self.draining = True
        self.api.drain()
        for frontend in self._frontends:
            frontend.draining = True

    async def verify(self, request: HttpRequest, service: str) -> Principal:
        """Return who signed a request, for frontends. Raises `AuthenticationError`s."""
        return await self.api.verifier.verify(request, service)

    def body_rule(self, request: HttpRequest) -> BodyRule:
        """Return how large a request may be, before it is verified."""
        frontend = self._find_frontend(request)
        if frontend is not None:
            return frontend.body_rule(request)
        if request.path.startswith(PREFIX):
            return self._own.body_rule(request, owner=self.api.verifier.is_root(find_signature_claim(request)[0]))
        return self.api.body_rule(request)

    def refuse(self, request: HttpRequest, size: int | None, limit_bytes: int) -> HttpResponse:
        """The answer to a body beyond its `body_rule`."""
        frontend = self._find_frontend(request)
        if frontend is not None:
            return frontend.refuse(request, size, limit_bytes)
        if request.path.startswith(PREFIX):
            return self._own.refuse(request, size, limit_bytes)
        return self.api.refuse(request, size, limit_bytes)

    def _find_frontend(self, request: HttpRequest) -> Frontend | None:
        host = request.header("host")
        try:
            return self._frontend_of[host]
        except KeyError:
            pass
        lower = host.lower()
        found = next((frontend for frontend in self._frontends if frontend.serves(lower)), None)
        if len(host) <= _HOST_CHARS:
            if len(self._frontend_of) >= _HOSTS_REMEMBERED:
                self._frontend_of.clear()
            self._frontend_of[host] = found
        return found
