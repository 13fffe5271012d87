"""The list of all registered operations of all services, made without a server: the tables are filled with dummy parts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from hanabi.edge.protocols.model import load
from hanabi.edge.service import Operation
from hanabi.services import sts
from hanabi.services.iam.operations import operations as iam_operations
from hanabi.services.lambda_.operations import operations as lambda_operations
from hanabi.services.logs import service as logs

# By the names of AWS's models. The wiring of a server is in `hanabi.node.serve`.
TABLES: Mapping[str, Callable[..., Mapping[str, Operation[Any]]]] = {
    "lambda": lambda_operations,
    "iam": iam_operations,
    "sts": sts.operations,
    "logs": logs.operations,
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One operation, as text."""

    service: str
    operation: str
    action: str  # that the caller must be allowed; empty: none
    resource: str  # on which, as in its ARN
    handler: str  # "AliasOperations.create_alias"
    body_bytes: int  # at most, of a request


def known_operations(service: str) -> list[str]:
    """List all operations of a service that AWS has."""
    return sorted(load(service).operation_names)


def listed_operations() -> Iterator[Listed]:
    for service, table in TABLES.items():
        for name, operation in sorted(_blank(table).items()):
            handler = operation.handler.__qualname__
            yield Listed(service, name, operation.action, operation.resource, handler, operation.body.limit_bytes)


def _blank(table: Callable[..., Mapping[str, Operation[Any]]]) -> Mapping[str, Operation[Any]]:
    """Fill a table with dummy parts: it only takes their methods."""
    parts = [kind for name, kind in get_type_hints(table).items() if name != "return"]
    return table(*(part.__new__(part) for part in parts))
