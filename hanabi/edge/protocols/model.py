"""The services as AWS's own models describe them, loaded once and compiled per operation on first use."""

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import botocore.loaders
from botocore.model import OperationModel, Shape
from botocore.model import ServiceModel as BotocoreModel

from hanabi.edge.protocols.constraints import Check, Constraints, summarise
from hanabi.edge.protocols.shapes import JsonShapes
from hanabi.edge.protocols.wording import PLAIN, Wording
from hanabi.errors import ValidationError


def endpoint_variable(service: str) -> str:
    """Return the suffix of `AWS_ENDPOINT_URL_` for a service: its id in AWS's model."""
    return str(load(service).botocore.service_id).upper().replace(" ", "_")


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """The wire form of a modelled error."""

    code: str
    status: int | None
    message: str  # the message member's name
    members: frozenset[str]
    headers: dict[str, str]  # member -> header


@dataclass(slots=True)
class Model:
    """One service."""

    name: str
    botocore: BotocoreModel
    errors: dict[str, ErrorShape]  # by code
    shapes: JsonShapes = field(default_factory=JsonShapes)
    constraints: Constraints = field(default_factory=Constraints)
    _checks: dict[str, Check | None] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        return str(self.botocore.resolved_protocol)

    @property
    def signing_name(self) -> str:
        """The service name in request signatures."""
        return str(self.botocore.signing_name)

    @property
    def endpoint_prefix(self) -> str:
        """The first label of AWS's host names."""
        return str(self.botocore.endpoint_prefix)

    @property
    def target_prefix(self) -> str:
        """The prefix of the operation in X-Amz-Target; empty where that header is not used."""
        return str(self.botocore.metadata.get("targetPrefix", ""))

    @property
    def operation_names(self) -> list[str]:
        return list(self.botocore.operation_names)

    def operation(self, name: str) -> OperationModel:
        return self.botocore.operation_model(name)

    def validate(self, operation: str, params: dict[str, Any]) -> None:
        """Raise `ValidationError` with every fault of an operation's parameters."""
        if operation not in self._checks:
            shape = self.operation(operation).input_shape
            self._checks[operation] = None if shape is None else self.constraints.check(shape)
        check = self._checks[operation]
        if check is not None:
            errors: list[str] = []
            check(params, "", errors)
            if errors:
                raise ValidationError(summarise(errors))


@functools.cache
def load(name: str, wording: Wording = PLAIN) -> Model:
    """Load the model of a service. `wording` is of its validation messages."""
    if wording is not PLAIN:
        return replace(load(name), constraints=Constraints(wording), _checks={})
    loader = botocore.loaders.create_loader()
    model = BotocoreModel(loader.load_service_model(name, "service-2"), name)
    return Model(name, model, {error.code: error for error in map(_error_shape, model.error_shapes)})


def _error_shape(shape: Shape) -> ErrorShape:
    message = next((member for member in shape.members if member.lower() == "message"), "message")
    headers = {
        member: str(inner.serialization.get("name", member))
        for member, inner in shape.members.items()
        if inner.serialization.get("location") == "header"
    }
    return ErrorShape(
        str(shape.error_code), shape.metadata.get("error", {}).get("httpStatusCode"), message, frozenset(shape.members), headers
    )


@functools.cache
def known_services() -> frozenset[str]:
    """List every signing name that botocore knows. The first call is slow: make it off the loop."""
    loader = botocore.loaders.create_loader()
    names = set(loader.list_available_services("service-2"))
    for partition in loader.load_data("endpoints")["partitions"]:
        names.update(partition["services"])
    return frozenset(names)
