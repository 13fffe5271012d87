"""Event invoke configurations as boto3 sees them."""

from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails


def test_event_configs(live: Live) -> None:
    client = live.client
    live.create("evented", Publish=True)
    live.create("evented-next")
    client.create_alias(FunctionName="evented", Name="live", FunctionVersion="1")
    made = client.put_function_event_invoke_config(FunctionName="evented", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 200 and made.pop("LastModified").year >= 2026
    assert made == {
        "FunctionArn": f"{ARN}:evented:$LATEST",
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
        "MaximumRetryAttempts": 2,
        "MaximumEventAgeInSeconds": 60,
    }
    replaced = client.put_function_event_invoke_config(FunctionName="evented:$LATEST", Qualifier="$LATEST", MaximumRetryAttempts=0)
    assert "MaximumEventAgeInSeconds" not in replaced and replaced["MaximumRetryAttempts"] == 0
    updated = client.update_function_event_invoke_config(
        FunctionName=f"{ARN}:evented", DestinationConfig={"OnSuccess": {"Destination": f"{ARN}:evented-next"}}
    )
    assert updated["MaximumRetryAttempts"] == 0
    assert updated["DestinationConfig"] == {"OnSuccess": {"Destination": f"{ARN}:evented-next"}, "OnFailure": {}}
    got = client.get_function_event_invoke_config(FunctionName="evented")
    assert {**got, "ResponseMetadata": 0} == {**updated, "ResponseMetadata": 0}
    for named in ({"Qualifier": "live"}, {"Qualifier": "1"}):
        assert client.put_function_event_invoke_config(FunctionName="evented", MaximumRetryAttempts=1, **named)["FunctionArn"].endswith(
            f"evented:{named['Qualifier']}"
        )
    first = client.list_function_event_invoke_configs(FunctionName="evented", MaxItems=2)
    rest = client.list_function_event_invoke_configs(FunctionName="evented", Marker=first["NextMarker"])
    listed = [config["FunctionArn"] for page in (first, rest) for config in page["FunctionEventInvokeConfigs"]]
    assert listed == [f"{ARN}:evented:{qualifier}" for qualifier in ("$LATEST", "1", "live")] and "NextMarker" not in rest
    assert client.delete_function_event_invoke_config(FunctionName="evented:live")["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.delete_function_event_invoke_config(FunctionName="evented", Qualifier="1")
    client.delete_function_event_invoke_config(FunctionName="evented")
    assert client.list_function_event_invoke_configs(FunctionName="evented")["FunctionEventInvokeConfigs"] == []


def test_what_is_refused(live: Live) -> None:
    client = live.client
    live.create("unevented")
    fails("InvalidParameterValueException", 400, "You must specify at least one of error handling or destination setting.",
          client.put_function_event_invoke_config, FunctionName="nowhere")  # fmt: skip
    for call in (client.put_function_event_invoke_config, client.update_function_event_invoke_config):
        fails("ResourceNotFoundException", 404, "The function doesn't exist.", call, FunctionName="nowhere", MaximumRetryAttempts=0)
        fails("ResourceNotFoundException", 404, "The function doesn't exist.", call, FunctionName="unevented:none", MaximumRetryAttempts=0)
        fails("ValidationException", 400, "'maximumRetryAttempts' failed to satisfy constraint: Member must have value less",
              call, FunctionName="unevented", MaximumRetryAttempts=3)  # fmt: skip
        fails("ValidationException", 400, "at 'maximumEventAgeInSeconds'", call, FunctionName="unevented", MaximumEventAgeInSeconds=59)
    fails(
        "ResourceNotFoundException", 404, "The function doesn't exist.", client.list_function_event_invoke_configs, FunctionName="nowhere"
    )
    without = f"The function {ARN}:unevented:$LATEST doesn't have an EventInvokeConfig"
    fails("ResourceNotFoundException", 404, without, client.update_function_event_invoke_config,
          FunctionName="unevented", MaximumRetryAttempts=0)  # fmt: skip
    for call in (client.get_function_event_invoke_config, client.delete_function_event_invoke_config):
        fails("ResourceNotFoundException", 404, without, call, FunctionName="unevented")
        fails("ResourceNotFoundException", 404, f"The function {ARN}:unevented:7 doesn't have an EventInvokeConfig",
              call, FunctionName="unevented", Qualifier="7")  # fmt: skip
        fails("ResourceNotFoundException", 404, f"The function {ARN}:nowhere:$LATEST doesn't have an EventInvokeConfig",
              call, FunctionName="nowhere")  # fmt: skip
    fails("InvalidParameterValueException", 400, "You can't specify the function as a destination for itself.",
          client.put_function_event_invoke_config, FunctionName="unevented",
          DestinationConfig={"OnFailure": {"Destination": f"{ARN}:unevented"}})  # fmt: skip
    fails("InvalidParameterValueException", 400, "The derived qualifier from the function name does not match the specified qualifier.",
          client.put_function_event_invoke_config, FunctionName="unevented:1", Qualifier="$LATEST", MaximumRetryAttempts=1)  # fmt: skip
