"""IAM and STS behind an edge, asked as by boto3: parameters in, what AWS's model says of the answer out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import botocore.parsers
from botocore.utils import datetime2timestamp

from hanabi.edge.protocols.model import load
from tests.unit.edge.world import World

TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}}
)


@dataclass
class Refused(Exception):
    """An error of the API."""

    code: str
    status: int
    message: str


def document(action: Any = "*", resource: Any = "*", effect: str = "Allow", **more: Any) -> str:
    statement = {"Effect": effect, "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


async def call(world: World, operation: str, key: Any = None, service: str = "iam", **params: Any) -> dict[str, Any]:
    """One call, by the owner unless `key` says otherwise. Raises `Refused`."""
    answer = await world.ask(key or world.keys.root, service, operation, **params)
    if answer.status >= 400:
        raise Refused(answer.code, answer.status, answer.message)
    parser = botocore.parsers.create_parser("query")
    parser = type(parser)(timestamp_parser=datetime2timestamp_of)
    shape = load(service).operation(operation).output_shape
    found: dict[str, Any] = parser.parse({"status_code": answer.status, "headers": {}, "body": answer.body}, shape)
    found.pop("ResponseMetadata")
    return found


def datetime2timestamp_of(text: str) -> float:
    from botocore.utils import parse_timestamp

    return float(datetime2timestamp(parse_timestamp(text)))


async def refusal(world: World, operation: str, key: Any = None, **params: Any) -> tuple[str, int, str]:
    """The error of a call that is refused."""
    try:
        answer = await call(world, operation, key, **params)
    except Refused as error:
        return error.code, error.status, error.message
    raise AssertionError(f"{operation} was not refused: {answer}")


def names(items: list[dict[str, Any]], member: str) -> list[str]:
    return [item[member] for item in items]


Ask = Callable[..., Any]
