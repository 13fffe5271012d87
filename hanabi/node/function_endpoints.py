"""Which endpoint the AWS SDKs in functions use: `--function-endpoint`.

AWS SDKs and tools reference guide, "Service-specific endpoints".
"""

from collections.abc import Iterable

from hanabi.edge.protocols.model import endpoint_variable
from hanabi.node.config import ENDPOINTS

_NAME = "AWS_ENDPOINT_URL"


def endpoint_variables(choice: str, services: Iterable[str]) -> list[str]:
    """Return the variables that SDKs take an endpoint from. `services` are those of Hanabi: calls of others go where they would go.

    `choice` is the setting: "served", "hanabi" and a URL for all services alike, "none".
    """
    if choice == "none":
        return []
    return [f"{_NAME}_{endpoint_variable(name)}" for name in services] if choice == "served" else [_NAME]


def endpoint_url(choice: str) -> str:
    """Return the value of these variables; empty: Hanabi's own endpoint, as an environment sees it."""
    return "" if choice in ENDPOINTS else choice
