"""CloudWatch Logs on a log store in memory, called as the edge calls it."""

from typing import Any

import botocore.loaders
import pytest
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from hanabi.contracts.credentials import Principal
from hanabi.contracts.http import HttpRequest
from hanabi.control.arns import AccountRegion
from hanabi.edge.service import Call
from hanabi.errors import ApiError
from hanabi.services.logs.service import LogsService
from hanabi.testing import ManualClock
from hanabi.testing.ledger import MemoryLedger

MODEL = ServiceModel(botocore.loaders.Loader().load_service_model("logs", "service-2"))
ACCOUNT, REGION = "000000000000", "us-east-1"
OWNER = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT, True)
GROUPS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"


class Client:
    """Calls operations, and holds parameters and answers to the model."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ledger = MemoryLedger(self.clock)
        self.service = LogsService(self.ledger, self.clock, AccountRegion(ACCOUNT, REGION))

    @property
    def now_ms(self) -> int:
        return round(self.clock.time() * 1000)

    async def __call__(self, operation: str, **params: Any) -> dict[str, Any]:
        request = HttpRequest("POST", "/", "/", "", [], b"")
        call = Call(request_id="r", principal=OWNER, account_region=AccountRegion(ACCOUNT, REGION), request=request, operation=operation)
        shapes = MODEL.operation_model(operation)
        check(params, shapes.input_shape)
        found = self.service.operations[operation]
        answer = dict(await found.handler(call, params, found.resolve(params)))
        if operation != "StartLiveTail":
            check(answer, shapes.output_shape)
        return answer

    async def fails(self, operation: str, **params: Any) -> tuple[str, str]:
        with pytest.raises(ApiError) as caught:
            await self(operation, **params)
        assert caught.value.status == 400
        return caught.value.code, caught.value.message

    async def group(self, name: str = "g", *streams: str, **params: Any) -> None:
        await self("CreateLogGroup", logGroupName=name, **params)
        for stream in streams:
            await self("CreateLogStream", logGroupName=name, logStreamName=stream)

    async def put(self, *messages: str, group: str = "g", stream: str = "s", at_ms: int = 0) -> dict[str, Any]:
        events = [{"timestamp": (at_ms or self.now_ms) + number, "message": message} for number, message in enumerate(messages)]
        return await self("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=events)


def check(values: dict[str, Any], shape: Any) -> None:
    if shape is None:
        assert values == {}
        return
    report = ParamValidator().validate(values, shape)
    assert not report.has_errors(), report.generate_report()
