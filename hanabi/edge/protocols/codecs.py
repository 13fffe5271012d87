"""The codec of each AWS wire protocol."""

from collections.abc import Callable

from hanabi.edge.protocols.aws_json import Json11
from hanabi.edge.protocols.codec import Codec
from hanabi.edge.protocols.model import Model
from hanabi.edge.protocols.query import Query
from hanabi.edge.protocols.rest_json import RestJson

CODECS: dict[str, Callable[[Model], Codec]] = {"rest-json": RestJson, "query": Query, "json": Json11}


def make_codec(model: Model) -> Codec:
    """Make a service's codec. Raises `ValueError` for a protocol without one."""
    if model.protocol not in CODECS:
        raise ValueError(f"Hanabi does not speak {model.protocol}, the protocol of {model.name}")
    return CODECS[model.protocol](model)
