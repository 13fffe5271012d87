"""The edge as boto3 and the AWS CLI see it."""

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from hanabi.http.limits import MiB
from tests.unit.edge.live import ACCOUNT, REGION, Live

ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"


def fails(call: Any, **params: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response: dict[str, Any] = caught.value.response
    return response


def code(response: dict[str, Any]) -> tuple[str, int]:
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_invoke_passes_everything_through(live: Live) -> None:
    name = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:my-f:live"
    context = base64.b64encode(b'{"custom":{}}').decode()
    answer = live.client("lambda").invoke(
        FunctionName=name, Qualifier="live", LogType="Tail", ClientContext=context, Payload=b'{"a": "\xc3\xbc"}'
    )
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST" and answer["FunctionError"] == "Unhandled"
    assert answer["Payload"].read() == b'{"a": "\xc3\xbc"}' and base64.b64decode(answer["LogResult"]) == b"log"
    call, params = live.functions.calls[-1]
    assert params == {
        "FunctionName": name,
        "Qualifier": "live",
        "LogType": "Tail",
        "ClientContext": context,
        "Payload": b'{"a": "\xc3\xbc"}',
    }
    assert call.principal.is_root and call.operation == "Invoke" and call.request_id == answer["ResponseMetadata"]["RequestId"]


def test_results_take_the_shape_of_the_model(live: Live) -> None:
    client = live.client("lambda")
    answer = client.get_function_configuration(FunctionName="f")
    del answer["ResponseMetadata"]
    assert answer == {"LastModified": "2026-11-24T10:00:00.000+0000", "MemorySize": 128}
    assert client.list_functions(MaxItems=5, Marker="ä /+=&")["NextMarker"] == "m"
    assert live.functions.calls[-1][1] == {"MaxItems": 5, "Marker": "ä /+=&"}
    assert client.delete_function(FunctionName="f")["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.untag_resource(Resource=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f", TagKeys=["a", "b c"])
    assert live.functions.calls[-1][1]["TagKeys"] == ["a", "b c"]
    assert client.get_layer_version_by_arn(Arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:l:3")["Version"] == 3
    assert client.list_layers()["Layers"] == []
    mapping = client.create_event_source_mapping(FunctionName="f", StartingPositionTimestamp=1_700_000_000)
    assert mapping["LastModified"].timestamp() == 1_795_000_000.5
    assert live.functions.calls[-1][1]["StartingPositionTimestamp"] == 1_700_000_000


def test_uploads_small_and_large(live: Live) -> None:
    client = live.client("lambda")
    assert client.create_function(FunctionName="s", Role=ROLE, Code={"ZipFile": b"zip"})["CodeSize"] == 3
    zip_bytes = os.urandom(5 * MiB)
    request = {"FunctionName": "l", "Role": ROLE, "Environment": {"Variables": {"AB": "b"}}}
    client.create_function(**request, Code={"ZipFile": zip_bytes})
    params = live.functions.calls[-1][1]
    assert isinstance(params["Code"]["ZipFile"], Path) and params["Environment"] == {"Variables": {"AB": "b"}}
    kept = live.functions.kept / "code"
    assert kept.read_bytes() == zip_bytes
    kept.unlink()
    error = fails(client.create_function, **request, Code={"ZipFile": bytes(50 * MiB + 1)})
    assert (
        code(error) == ("RequestEntityTooLargeException", 413)
        and error["Error"]["Message"] == "Zipped size must be smaller than 52428800 bytes"
    )
    error = fails(client.create_function, **request, Code={"ZipFile": bytes(60 * MiB)})
    assert error["Error"]["Message"] == "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    error = fails(client.create_function, **request, Code={"ZipFile": b"bad"})
    assert code(error) == ("InvalidZipFileException", 502) and error["Type"] == "User" and error["Message"]


def test_payload_limits(live: Live) -> None:
    client = live.client("lambda")
    body = b'"' + b"x" * (6 * MiB - 2) + b'"'
    assert client.invoke(FunctionName="f", Payload=body)["Payload"].read() == body
    error = fails(client.invoke, FunctionName="f", Payload=body + b" " * 100)
    assert code(error) == ("RequestTooLargeException", 413)
    assert error["Error"]["Message"] == "6291556 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"
    error = fails(client.invoke, FunctionName="f", InvocationType="Event", Payload=bytes(1_525_970))
    assert error["Error"]["Message"] == "1525970 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
    error = fails(client.invoke, FunctionName="f", Payload=bytes(20 * MiB))
    assert error["Error"]["Message"] == "20971520 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)"
    error = fails(client.invoke, FunctionName="f", Payload=b"x" + body[1:])
    assert code(error) == ("InvalidRequestContentException", 400)
    assert error["Error"]["Message"].startswith("Could not parse request body into json: Could not parse payload into json: ")


def test_errors_have_the_members_of_their_shapes(live: Live) -> None:
    client = live.client("lambda")
    error = fails(client.get_function, FunctionName="nope")
    assert code(error) == ("ResourceNotFoundException", 404)
    assert error["Message"] == f"Function not found: arn:aws:lambda:{REGION}:{ACCOUNT}:function:nope" and error["Type"] == "User"
    error = fails(client.get_account_settings)
    assert code(error) == ("TooManyRequestsException", 429)
    assert (error["Reason"], error["message"], error["Type"]) == ("ConcurrentInvocationLimitExceeded", "Rate Exceeded.", "User")
    error = fails(client.publish_version, FunctionName="f")
    assert code(error) == ("NotImplementedException", 501) and "PublishVersion" in error["Error"]["Message"]
    error = fails(live.client("dynamodb").list_tables)
    assert code(error) == ("NotImplementedException", 501) and "dynamodb" in error["Error"]["Message"]
    error = fails(live.client("sqs").list_queues)
    assert code(error)[1] == 501


def test_validation_in_awss_words(live: Live) -> None:
    client = live.client("lambda")
    error = fails(client.create_function, FunctionName="a b", Role="r1", Code={"ZipFile": b"z"}, Architectures=["x86_64", "arm64"])
    assert code(error) == ("ValidationException", 400)
    assert error["Error"]["Message"] == (
        "3 validation errors detected: "
        "Value 'a b' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: "
        r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_]+)"
        r"(:(\$LATEST|[a-zA-Z0-9-_]+))?; "
        "Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: "
        r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+; "
        "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"
    )
    error = fails(client.untag_resource, Resource=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f", TagKeys=[])
    assert error["Error"]["Message"] == (
        "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"
    )
    error = fails(client.list_functions, FunctionVersion="invalid")
    assert error["Error"]["Message"].endswith(
        "Value 'invalid' at 'functionVersion' failed to satisfy constraint: Member must satisfy enum value set: [ALL]"
    )
    error = fails(
        client.create_alias, FunctionName="f", Name="x", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 2.0}}
    )
    assert error["Error"]["Message"] == (
        "1 validation error detected: Value '{2=2.0}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: "
        "Map value must satisfy constraint: [Member must have value less than or equal to 1.0, "
        "Member must have value greater than or equal to 0.0, Member must not be null]"
    )
    error = fails(client.create_function, FunctionName="f", Role=ROLE, Code={"ZipFile": b"z"}, MemorySize="x")
    assert code(error) == ("SerializationException", 400) and error["Error"]["Message"] == "STRING_VALUE can not be converted to an Integer"
    secret = {"Variables": {"1BAD": "hush"}}
    error = fails(client.create_function, FunctionName="f", Role=ROLE, Code={"ZipFile": b"z"}, Environment=secret)
    assert "Value at 'environment.variables' failed" in error["Error"]["Message"] and "hush" not in error["Error"]["Message"]


def test_logs_speak_json(live: Live) -> None:
    client = live.client("logs")
    assert client.describe_log_groups(logGroupNamePrefix="/aws", limit=3)["logGroups"][0]["creationTime"] == 1
    assert live.logs.calls[-1][1] == {"logGroupNamePrefix": "/aws", "limit": 3}
    error = fails(client.get_log_events, logGroupName="g", logStreamName="s")
    assert code(error) == ("ResourceNotFoundException", 400) and error["Error"]["Message"] == "The specified log group does not exist."
    error = fails(client.get_log_events, logGroupName="g g", logStreamName="s")
    assert code(error) == ("InvalidParameterException", 400) and "at 'logGroupName' failed" in error["Error"]["Message"]
    error = fails(client.create_log_group, logGroupName="g")
    assert code(error) == ("NotImplementedException", 501)


def test_the_aws_cli(live: Live, tmp_path: Path) -> None:
    key = live.keys.root
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": live.endpoint,
        "AWS_ACCESS_KEY_ID": key.access_key,
        "AWS_SECRET_ACCESS_KEY": key.secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }

    def aws(*arguments: str) -> Any:
        command = [sys.executable, "-W", "ignore", "-m", "awscli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    assert aws("sts", "get-caller-identity")["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    output = tmp_path / "out.json"
    answer = aws("lambda", "invoke", "--function-name", "f", "--payload", '{"k": 1}', str(output))
    assert answer["ExecutedVersion"] == "$LATEST" and json.loads(output.read_text()) == {"k": 1}
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("f.py", "")
    created = aws("lambda", "create-function", "--function-name", "f", "--role", ROLE, "--zip-file", f"fileb://{tmp_path}/f.zip")
    assert created["CodeSize"] == (tmp_path / "f.zip").stat().st_size


def test_a_streaming_payload(live: Live) -> None:
    answer = live.client("lambda").invoke(FunctionName="f", Payload=io.BytesIO(b'"stream"'))
    assert answer["Payload"].read() == b'"stream"'
