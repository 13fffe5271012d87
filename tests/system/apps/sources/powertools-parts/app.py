"""The application `powertools-parts` of test_apps: batch, parser, idempotency over a store of its own."""

import json
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyItemAlreadyExistsError, IdempotencyItemNotFoundError
from aws_lambda_powertools.utilities.idempotency.persistence.base import BasePersistenceLayer
from aws_lambda_powertools.utilities.parser import BaseModel, ValidationError, parse

logger = Logger(service="parts")
metrics = Metrics(namespace="Parts", service="parts")
processor = BatchProcessor(event_type=EventType.SQS)


class InMemory(BasePersistenceLayer):
    """As the one for DynamoDB, in a dictionary: an environment's own."""

    def __init__(self):
        super().__init__()
        self.records = {}

    def _get_record(self, idempotency_key):
        try:
            return self.records[idempotency_key]
        except KeyError:
            raise IdempotencyItemNotFoundError from None

    def _put_record(self, data_record):
        held = self.records.get(data_record.idempotency_key)
        if held is not None and not held.is_expired:
            raise IdempotencyItemAlreadyExistsError(old_data_record=held)
        self.records[data_record.idempotency_key] = data_record

    def _update_record(self, data_record):
        self.records[data_record.idempotency_key] = data_record

    def _delete_record(self, data_record):
        self.records.pop(data_record.idempotency_key, None)


class Order(BaseModel):
    id: int
    name: str


config = IdempotencyConfig(event_key_jmespath="id", expires_after_seconds=60)
paid = []


@idempotent_function(data_keyword_argument="order", config=config, persistence_store=InMemory())
def pay(order: dict[str, Any]) -> dict[str, Any]:
    paid.append(order["id"])
    return {"paid": order["id"], "number": len(paid)}


def work(record: SQSRecord) -> None:
    if record.json_body["n"] < 0:
        raise ValueError("negative")
    logger.info("worked", extra={"n": record.json_body["n"]})


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event, context):
    config.register_lambda_context(context)
    body = json.loads(event["body"])
    if event["rawPath"] == "/batch":
        records = [{"messageId": str(n), "body": json.dumps({"n": n}), "eventSource": "aws:sqs", "attributes": {}} for n in body]
        metrics.add_metric(name="Records", unit=MetricUnit.Count, value=len(records))
        return process_partial_response(event={"Records": records}, record_handler=work, processor=processor, context=context)
    if event["rawPath"] == "/pay":
        return pay(order=body)
    try:
        return parse(event=body, model=Order).model_dump()
    except ValidationError as error:
        return {"statusCode": 422, "body": json.dumps([each["loc"] for each in error.errors()])}
