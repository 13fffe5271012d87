"""The context object. AWS Lambda developer guide, "Using the Lambda context object to retrieve Python function information"."""

from __future__ import annotations  # Python 3.9 evaluates them otherwise

import json
import os
import sys
import time
from typing import Any

from hanabi_runtime.channel import Invocation
from hanabi_runtime.errors import RuntimeFailure


class _Record:
    __slots__: tuple[str, ...] = ()

    def __init__(self, values: dict[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{','.join(f'{name}={getattr(self, name)}' for name in self.__slots__)}])"


class CognitoIdentity(_Record):
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(_Record):
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(_Record):
    __slots__ = ("custom", "env", "client")


def parse_client_context(text: str) -> ClientContext | None:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise RuntimeFailure("Runtime.LambdaContextUnmarshalError", f"Unable to parse Client Context JSON: {error}") from None
    if values is None:
        return None
    if values.get("client") is not None:
        values["client"] = Client(values["client"])
    return ClientContext(values)


class LambdaContext:
    def __init__(self, request: Invocation) -> None:
        variable = os.environ.get
        self.aws_request_id = request.request_id
        self.log_group_name = variable("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = variable("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = variable("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = variable("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = request.arn
        self.tenant_id = request.tenant_id
        self.client_context = parse_client_context(request.client_context) if request.client_context else None
        self.identity = CognitoIdentity({})
        self._epoch_deadline_time_in_ms = request.deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def log(self, message: Any) -> None:
        sys.stdout.write(str(message))

    def __repr__(self) -> str:
        names = (
            *("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb", "function_version"),
            *("invoked_function_arn", "client_context", "identity", "tenant_id"),
        )
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in names)}])"
