"""Event source mappings as boto3 sees them."""

import uuid
from typing import Any

from tests.unit.control.support import ACCOUNT, ARN, REGION
from tests.unit.services.lambda_.support import Live, fails

QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
STREAM = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/"


def wait(live: Live, mapping_id: str, state: str) -> dict[str, Any]:
    for _ in range(500):
        got: dict[str, Any] = live.client.get_event_source_mapping(UUID=mapping_id)
        if got["State"] == state:
            return got
    raise AssertionError(f"{mapping_id} does not become {state}")


def test_the_life_of_a_mapping(live: Live) -> None:
    client = live.client
    live.create("mapped")
    made = client.create_event_source_mapping(FunctionName="mapped", EventSourceArn=f"{QUEUE}life")
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 202 and made.pop("LastModified").year >= 2026
    mapping_id = made["UUID"]
    assert made == {
        "UUID": str(uuid.UUID(mapping_id)),
        "EventSourceMappingArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:{mapping_id}",
        "EventSourceArn": f"{QUEUE}life",
        "FunctionArn": f"{ARN}:mapped",
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }
    wait(live, mapping_id, "Enabled")
    fails("ResourceConflictException", 409, f"already exists. Please update or delete the existing mapping with UUID {mapping_id}",
          client.create_event_source_mapping, FunctionName="mapped", EventSourceArn=f"{QUEUE}life")  # fmt: skip
    updated = client.update_event_source_mapping(UUID=mapping_id, BatchSize=5, ScalingConfig={"MaximumConcurrency": 2}, Enabled=False)
    assert (updated["State"], updated["BatchSize"], updated["ScalingConfig"]) == ("Disabling", 5, {"MaximumConcurrency": 2})
    assert updated["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert wait(live, mapping_id, "Disabled")["BatchSize"] == 5
    deleted = client.delete_event_source_mapping(UUID=mapping_id)
    assert (deleted["State"], deleted["ResponseMetadata"]["HTTPStatusCode"]) == ("Deleting", 202)


def test_streams_show_what_was_processed_and_when_reading_began(live: Live) -> None:
    live.create("streamed")
    made = live.client.create_event_source_mapping(
        FunctionName="streamed", EventSourceArn=f"{STREAM}s", StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=1_700_000_000
    )
    assert (made["LastProcessingResult"], made["StateTransitionReason"]) == ("No records processed", "User action")
    assert made["StartingPositionTimestamp"].timestamp() == 1_700_000_000
    assert made["DestinationConfig"] == {"OnFailure": {}}
    live.client.delete_event_source_mapping(UUID=made["UUID"])


def test_tags(live: Live) -> None:
    live.create("tagged-mapping")
    made = live.client.create_event_source_mapping(FunctionName="tagged-mapping", EventSourceArn=f"{QUEUE}tagged", Tags={"a": "1"})
    arn = made["EventSourceMappingArn"]
    live.client.tag_resource(Resource=arn, Tags={"b": "2"})
    live.client.untag_resource(Resource=arn, TagKeys=["a"])
    assert live.client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    wait(live, made["UUID"], "Enabled")
    live.client.delete_event_source_mapping(UUID=made["UUID"])
    while live.client.list_event_source_mappings(FunctionName="tagged-mapping")["EventSourceMappings"]:
        pass
    fails("ResourceNotFoundException", 404, f"Event source mapping not found: {arn}", live.client.list_tags, Resource=arn)


def test_lists(live: Live) -> None:
    client = live.client
    live.create("listed-a")
    live.create("listed-b")
    made = [
        client.create_event_source_mapping(FunctionName=name, EventSourceArn=f"{QUEUE}{queue}")["UUID"]
        for name in ("listed-a", "listed-b")
        for queue in ("one", "two")
    ]

    def found(**params: Any) -> list[str]:
        return [mapping["UUID"] for mapping in client.list_event_source_mappings(**params)["EventSourceMappings"]]

    assert found(FunctionName="listed-a") == found(FunctionName=f"{ARN}:listed-a") == sorted(made[:2])
    assert found(EventSourceArn=f"{QUEUE}one") == sorted(made[::2])
    assert found(EventSourceArn=f"{QUEUE}one", FunctionName="listed-b") == [made[2]]
    assert found(FunctionName="nowhere") == found(EventSourceArn=f"{QUEUE}nothing") == []
    paginator = client.get_paginator("list_event_source_mappings")
    pages = list(paginator.paginate(FunctionName="listed-a", PaginationConfig={"PageSize": 1}))
    assert [len(page["EventSourceMappings"]) for page in pages if page["EventSourceMappings"]] == [1, 1]
    for mapping_id in made:
        client.delete_event_source_mapping(UUID=mapping_id)


def test_what_is_refused(live: Live) -> None:
    client = live.client
    live.create("unmapped")
    nobody = str(uuid.uuid4())
    for call in (client.get_event_source_mapping, client.delete_event_source_mapping, client.update_event_source_mapping):
        fails("ResourceNotFoundException", 404, "The resource you requested does not exist.", call, UUID=nobody)
        fails("ValidationException", 400, "at 'uUID' failed to satisfy constraint", call, UUID="short")
    create = client.create_event_source_mapping
    fails("InvalidParameterValueException", 400, "Unrecognized event source.", create, FunctionName="nowhere")
    fails("InvalidParameterValueException", 400, "Function does not exist", create, FunctionName="nowhere", EventSourceArn=f"{QUEUE}q")
    fails("InvalidParameterValueException", 400, "Unsupported DestinationConfig parameter for given event source mapping type.", create,
          FunctionName="nowhere", EventSourceArn=f"{QUEUE}q",
          DestinationConfig={"OnSuccess": {"Destination": f"{QUEUE}q"}})  # fmt: skip
    fails("InvalidParameterValueException", 400, "Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.",
          create, FunctionName="unmapped", EventSourceArn=f"{STREAM}s")  # fmt: skip
    fails("ValidationException", 400, "Member must satisfy enum value set: [LATEST, AT_TIMESTAMP, TRIM_HORIZON]", create,
          FunctionName="unmapped", EventSourceArn=f"{STREAM}s", StartingPosition="invalid")  # fmt: skip
    fails("InvalidParameterValueException", 400, "Invalid filter pattern definition.", create,
          FunctionName="unmapped", EventSourceArn=f"{QUEUE}q", FilterCriteria={"Filters": [{"Pattern": "simple string"}]})  # fmt: skip
