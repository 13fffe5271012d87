"""The services of an endpoint. A request's is found as AWS does: by signing name, or without a signature by its other parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion
from hanabi.edge.auth.sigv4 import find_signature_claim
from hanabi.edge.large_json import blob_pointers
from hanabi.edge.protocols.codec import Codec
from hanabi.edge.protocols.codecs import make_codec
from hanabi.edge.protocols.model import load
from hanabi.edge.protocols.rest_xml import SIGNING_NAMES as REST_XML
from hanabi.edge.service import PLACES_KEPT, Operation, Service
from hanabi.errors import ApiError


@dataclass(frozen=True, slots=True)
class PlacedOperations:
    """The operations of a service on what an account has in a region."""

    account_region: AccountRegion
    operations: Mapping[str, Operation[Any]]


@dataclass(frozen=True, slots=True)
class ServedService:
    """A service with its model and codec."""

    name: str
    codec: Codec
    operations: dict[str, Operation[Any]]
    blobs: dict[str, list[str]]  # operation whose body is spooled -> where in it blobs are: ["Code.ZipFile"]
    service: Service
    placed: dict[tuple[str, str], PlacedOperations] = field(default_factory=dict)  # by (account, region): those that were called

    def find(self, place: AccountRegion) -> PlacedOperations | None:
        """Return the operations of an account and region, if they need not be opened."""
        if type(self.service).at is Service.at:
            return self._keep(PlacedOperations(place, self.operations))
        return self.placed.get((place.account, place.region))

    async def open(self, place: AccountRegion) -> PlacedOperations:
        """Return the operations of an account and region, and keep them."""
        key = (place.account, place.region)
        if key not in self.placed:
            return self._keep(PlacedOperations(place, await self.service.at(place)))
        return self.placed[key]

    def _keep(self, placed: PlacedOperations) -> PlacedOperations:
        if len(self.placed) >= PLACES_KEPT:
            self.placed.clear()  # they are made anew
        return self.placed.setdefault((placed.account_region.account, placed.account_region.region), placed)


class ServedServices:
    """The services by signing name. Raises `TypeError` for an operation without permissions."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.by_signing_name: dict[str, ServedService] = {}
        self._by_protocol: dict[str, ServedService] = {}
        self._by_host_label: dict[str, str] = {}
        self._by_target_prefix: dict[str, str] = {}
        for service in services:
            served = _serve(service)
            model = served.codec.model
            self.by_signing_name[model.signing_name] = served
            self._by_protocol.setdefault(model.protocol, served)
            self._by_host_label[model.endpoint_prefix] = model.signing_name
            if model.target_prefix:
                self._by_target_prefix[model.target_prefix] = model.signing_name
        self.first = next(iter(self.by_signing_name))

    def name_of(self, request: HttpRequest) -> str:
        """Return the signing name of a request's service, as far as it can be told."""
        return find_signature_claim(request)[1] or self._recognise(request)

    def _recognise(self, request: HttpRequest) -> str:
        """Guess the service of an unsigned request, for the form of its error."""
        for found in (
            self._by_target_prefix.get(request.header("x-amz-target").partition(".")[0]),
            self._by_host_label.get(request.header("host").partition(".")[0]),
        ):
            if found is not None:
                return found
        protocol = "query" if request.path == "/" and request.method == "POST" else "rest-json"
        served = self._by_protocol.get(protocol)
        return served.codec.model.signing_name if served else self.first

    def forget(self, place: AccountRegion) -> None:
        """Forget the operations of an account and region: they are made anew when somebody calls them."""
        for served in self.by_signing_name.values():
            served.placed.pop((place.account, place.region), None)
            served.service.forget(place)

    def forget_account(self, account: str) -> None:
        """Forget the operations of an account, of all regions."""
        for place in {found.account_region for served in self.by_signing_name.values() for found in served.placed.values()}:
            if place.account == account:
                self.forget(place)

    def codec(self, name: str, request: HttpRequest) -> Codec:
        """Return the codec of a service; for an unknown one, a codec whose errors its client most likely understands."""
        served = self.by_signing_name.get(name)
        if served is None:
            if request.header("x-amz-target"):
                protocol = "json"
            elif "x-www-form" in request.header("content-type") or name in REST_XML:
                protocol = "query"
            else:
                protocol = "rest-json"
            served = self._by_protocol.get(protocol) or self.by_signing_name[self.first]
        return served.codec

    def find_operation(self, request: HttpRequest) -> tuple[str, Operation[Any] | None]:
        """Return (operation name, operation if served) by the request's head alone; "" when it does not tell."""
        served = self.by_signing_name.get(self.name_of(request))
        if served is None or served.codec.matches_body:
            return "", None
        try:
            name = served.codec.match(request).operation
        except ApiError:
            return "", None
        return name, served.operations.get(name)


def _serve(service: Service) -> ServedService:
    model = load(service.name, service.wording)
    for name, operation in service.operations.items():
        if not isinstance(operation, Operation) or not callable(operation.resolve) or not callable(operation.permissions):
            raise TypeError(f"{service.name}:{name} does not say what it touches")
    spooled = (name for name, operation in service.operations.items() if operation.body.spool)
    blobs = {name: blob_pointers(model.operation(name).input_shape) for name in spooled}
    return ServedService(service.name, make_codec(model), dict(service.operations), blobs, service)
