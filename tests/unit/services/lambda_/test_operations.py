"""Aliases, concurrency, URLs, policies and tags as boto3 sees them."""

import json
import re

from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails


def test_aliases(live: Live) -> None:
    client = live.client
    live.create("aliased", Publish=True)
    client.update_function_configuration(FunctionName="aliased", Timeout=9)
    live.settle("aliased")
    client.publish_version(FunctionName="aliased")
    made = client.create_alias(
        FunctionName="aliased", Name="live", FunctionVersion="1", Description="d", RoutingConfig={"AdditionalVersionWeights": {"2": 0.2}}
    )
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 201
    got = client.get_alias(FunctionName="aliased", Name="live")
    del got["ResponseMetadata"]
    assert got == made == {
        "AliasArn": f"{ARN}:aliased:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "d",
        "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.2}},
        "RevisionId": made["RevisionId"],
    }  # fmt: skip
    shown = client.get_function(FunctionName="aliased", Qualifier="live")["Configuration"]
    assert (shown["FunctionArn"], shown["Version"]) == (f"{ARN}:aliased:live", "1")
    client.create_alias(FunctionName="aliased", Name="old", FunctionVersion="1")
    updated = client.update_alias(FunctionName="aliased", Name="live", FunctionVersion="2", RoutingConfig={})
    assert updated["FunctionVersion"] == "2" and "RoutingConfig" not in updated
    assert live.invoke("aliased:live")["ExecutedVersion"] == "2"
    assert [alias["Name"] for alias in client.list_aliases(FunctionName="aliased")["Aliases"]] == ["live", "old"]
    assert [alias["Name"] for alias in client.list_aliases(FunctionName="aliased", FunctionVersion="1")["Aliases"]] == ["old"]
    fails("ResourceConflictException", 409, "Unable to delete version because the following aliases reference it: [live]",
          client.delete_function, FunctionName="aliased", Qualifier="2")  # fmt: skip
    assert client.delete_alias(FunctionName="aliased", Name="live")["ResponseMetadata"]["HTTPStatusCode"] == 204
    fails(
        "ResourceNotFoundException",
        404,
        f"Cannot find alias arn: {ARN}:aliased:live",
        client.get_alias,
        FunctionName="aliased",
        Name="live",
    )
    fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:aliased:live", client.invoke, FunctionName="aliased:live")
    fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:nowhere:1", client.create_alias,
          FunctionName="nowhere", Name="live", FunctionVersion="1")  # fmt: skip


def test_concurrency(live: Live) -> None:
    client = live.client
    live.create("reserved")
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="reserved")
    assert client.put_function_concurrency(FunctionName="reserved", ReservedConcurrentExecutions=7)["ReservedConcurrentExecutions"] == 7
    assert client.get_function(FunctionName="reserved")["Concurrency"] == {"ReservedConcurrentExecutions": 7}
    settings = client.get_account_settings()
    assert settings["AccountLimit"]["ConcurrentExecutions"] == 1000
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 993
    assert settings["AccountUsage"]["FunctionCount"] >= 1 and settings["AccountUsage"]["TotalCodeSize"] > 0
    fails("InvalidParameterValueException", 400, "below its minimum value of [100]",
          client.put_function_concurrency, FunctionName="reserved", ReservedConcurrentExecutions=901)  # fmt: skip
    fails("InvalidParameterValueException", 400, "This operation is permitted on Lambda functions only.",
          client.put_function_concurrency, FunctionName="reserved:1", ReservedConcurrentExecutions=1)  # fmt: skip
    client.delete_function_concurrency(FunctionName="reserved")
    assert "Concurrency" not in client.get_function(FunctionName="reserved")


def test_urls(live: Live) -> None:
    client = live.client
    live.create("web")
    fails(
        "ResourceNotFoundException", 404, "The resource you requested does not exist.", client.get_function_url_config, FunctionName="web"
    )
    made = client.create_function_url_config(FunctionName="web", AuthType="NONE", Cors={"AllowOrigins": ["*"], "MaxAge": 60})
    assert re.fullmatch(r"http://[a-z0-9]{32}\.lambda-url\.localhost:\d+/", made["FunctionUrl"])
    assert (made["FunctionArn"], made["AuthType"]) == (f"{ARN}:web", "NONE") and "InvokeMode" not in made  # as AWS
    assert client.get_function_url_config(FunctionName="web")["InvokeMode"] == "BUFFERED"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", made["CreationTime"])
    fails("ResourceConflictException", 409, "FunctionUrlConfig exists for this Lambda function",
          client.create_function_url_config, FunctionName="web", AuthType="NONE")  # fmt: skip
    updated = client.update_function_url_config(FunctionName="web", AuthType="AWS_IAM")
    assert (updated["AuthType"], updated["Cors"], updated["FunctionUrl"]) == ("AWS_IAM", made["Cors"], made["FunctionUrl"])
    listed = client.list_function_url_configs(FunctionName="web")["FunctionUrlConfigs"]
    assert [(url["FunctionUrl"], url["InvokeMode"]) for url in listed] == [(made["FunctionUrl"], "BUFFERED")]
    streaming = client.update_function_url_config(FunctionName="web", InvokeMode="RESPONSE_STREAM")
    assert streaming["InvokeMode"] == client.update_function_url_config(FunctionName="web")["InvokeMode"] == "RESPONSE_STREAM"
    assert client.get_function_url_config(FunctionName="web")["InvokeMode"] == "RESPONSE_STREAM"
    client.delete_function_url_config(FunctionName="web")
    fails(
        "ResourceNotFoundException",
        404,
        "The resource you requested does not exist.",
        client.delete_function_url_config,
        FunctionName="web",
    )
    fails(
        "ResourceNotFoundException",
        404,
        "Function does not exist",
        client.create_function_url_config,
        FunctionName="nowhere",
        AuthType="NONE",
    )
    fails("ResourceNotFoundException", 404, "Function does not exist", client.create_function_url_config,
          FunctionName="web", Qualifier="nothing", AuthType="NONE")  # fmt: skip
    fails("ValidationException", 400, "Value '1' at 'qualifier'", client.get_function_url_config, FunctionName="web", Qualifier="1")


def test_policies(live: Live) -> None:
    client = live.client
    live.create("guarded")
    added = client.add_permission(
        FunctionName="guarded", StatementId="url", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    statement = {
        "Sid": "url",
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:InvokeFunctionUrl",
        "Resource": f"{ARN}:guarded",
        "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
    }
    assert json.loads(added["Statement"]) == statement
    policy = client.get_policy(FunctionName="guarded")
    assert json.loads(policy["Policy"])["Statement"] == [statement]
    assert policy["RevisionId"] == client.get_function_configuration(FunctionName="guarded")["RevisionId"]
    client.remove_permission(FunctionName="guarded", StatementId="url")
    fails("ResourceNotFoundException", 404, "The resource you requested does not exist.", client.get_policy, FunctionName="guarded")
    fails("ResourceNotFoundException", 404, "No policy is associated with the given resource.",
          client.remove_permission, FunctionName="guarded", StatementId="url")  # fmt: skip
    fails("ResourceNotFoundException", 404, f"No policy found for: {ARN}:nowhere",
          client.remove_permission, FunctionName="nowhere", StatementId="url")  # fmt: skip


def test_tags(live: Live) -> None:
    client = live.client
    arn = live.create("tagged", Tags={"a": "1"})["FunctionArn"]
    assert client.tag_resource(Resource=arn, Tags={"b": "2"})["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.untag_resource(Resource=arn, TagKeys=["a"])
    assert client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:nowhere", client.list_tags, Resource=f"{ARN}:nowhere")
    fails("InvalidParameterValueException", 400, "Tags on function aliases and versions are not supported.",
          client.tag_resource, Resource=f"{arn}:1", Tags={"b": "2"})  # fmt: skip
    fails("ValidationException", 400, "at 'resource' failed to satisfy constraint", client.list_tags, Resource="arn:aws:something")
