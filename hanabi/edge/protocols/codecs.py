"""Which codec speaks which of AWS's wire protocols."""

from collections.abc import Callable

from hanabi.edge.protocols.aws_json import Json11
from hanabi.edge.protocols.codec import Codec
from hanabi.edge.protocols.model import Model
from hanabi.edge.protocols.query import Query
from hanabi.edge.protocols.rest_json import RestJson

CODECS: dict[str, Callable[[Model], Codec]] = {"rest-json": RestJson, "query": Query, "json": Json11}


def make_codec(model: Model) -> Codec:
    """Raises `ValueError` for a protocol that there is no codec for."""
    if model.protocol not in CODECS:
        raise ValueError(f"Hanabi does not speak {model.protocol}, the protocol of {model.name}")
    return CODECS[model.protocol](model)
