"""What a service is to the edge: a name and a handler for each operation it has."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hanabi.contracts import HttpRequest, Principal


@dataclass(slots=True)
class Call:
    """One verified request for one operation."""

    request_id: str
    principal: Principal
    region: str
    headers: Mapping[str, str]  # names in lower case
    request: HttpRequest
    operation: str
    response_headers: list[tuple[str, str]] = field(default_factory=list)  # that the service sends beyond its model's


# Parameters and results are plain dictionaries by the model's member names. Blobs are bytes (of a large upload a Path,
# deleted when the handler returns, unless moved away), timestamps Unix seconds or datetimes, a status code is an int.
Handler = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any]]]


class Service(Protocol):
    """A service's handlers, by the operation names of its botocore model. A handler raises `ApiError`s."""

    @property
    def name(self) -> str: ...

    @property
    def operations(self) -> Mapping[str, Handler]: ...
