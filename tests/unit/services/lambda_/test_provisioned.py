"""Provisioned concurrency as boto3 sees it; the words are those recorded on AWS."""

import re
from typing import Any

from hanabi.contracts.functions import Allocation
from tests.unit.control.support import ARN
from tests.unit.services.lambda_.support import Live, fails

NO_CONFIG = "No Provisioned Concurrency Config found for this function"
NO_RESOURCE = "The function resource provided must be an alias or a published version."
UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."


def shown(answer: dict[str, Any]) -> tuple[int, int, int, str]:
    return (
        answer["RequestedProvisionedConcurrentExecutions"],
        answer["AllocatedProvisionedConcurrentExecutions"],
        answer["AvailableProvisionedConcurrentExecutions"],
        answer["Status"],
    )


def test_its_life(live: Live) -> None:
    client = live.client
    live.create("warm", Publish=True)
    one = {"FunctionName": "warm", "Qualifier": "1"}
    made = client.put_provisioned_concurrency_config(**one, ProvisionedConcurrentExecutions=2)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202 and shown(made) == (2, 0, 0, "IN_PROGRESS")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000", made["LastModified"]) and "StatusReason" not in made
    function = live.control.functions.find("warm")
    key = function.key(function.versions["1"])
    for allocation, status in (
        (Allocation(1), (2, 1, 1, "IN_PROGRESS")),
        (Allocation(2, True), (2, 2, 2, "READY")),
        (Allocation(1, True), (2, 1, 1, "READY")),  # one is being replaced
        (Allocation(0, False, "FUNCTION_ERROR_INIT_FAILURE"), (2, 0, 0, "FAILED")),
    ):
        live.allocations[key] = allocation
        got = client.get_provisioned_concurrency_config(**one)
        assert shown(got) == status and got.get("StatusReason") == allocation.failure
    assert "ProvisionedConcurrencyConfig" not in str(client.get_function(**one))
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="warm")
    client.create_alias(FunctionName="warm", Name="live", FunctionVersion="1")
    fails("ResourceConflictException", 409,
          "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
          client.put_provisioned_concurrency_config,
          FunctionName="warm:live", Qualifier="live", ProvisionedConcurrentExecutions=1)  # fmt: skip
    for _ in range(2):
        assert client.delete_provisioned_concurrency_config(**one)["ResponseMetadata"]["HTTPStatusCode"] == 204
    fails("ProvisionedConcurrencyConfigNotFoundException", 404, NO_CONFIG, client.get_provisioned_concurrency_config, **one)
    client.put_provisioned_concurrency_config(FunctionName="warm", Qualifier="live", ProvisionedConcurrentExecutions=1)
    fails("ResourceConflictException", 409, "Version is pointed by a Provisioned Concurrency alias",
          client.put_provisioned_concurrency_config, **one, ProvisionedConcurrentExecutions=1)  # fmt: skip
    client.delete_alias(FunctionName="warm", Name="live")
    assert client.list_provisioned_concurrency_configs(FunctionName="warm")["ProvisionedConcurrencyConfigs"] == []


def test_refusals(live: Live) -> None:
    client = live.client
    live.create("cold", Publish=True)
    put, get, delete = (
        client.put_provisioned_concurrency_config,
        client.get_provisioned_concurrency_config,
        client.delete_provisioned_concurrency_config,
    )
    for call, more in ((put, {"ProvisionedConcurrentExecutions": 1}), (get, {}), (delete, {})):
        for name, qualifier, code, message in (
            ("nowhere", "alias", 404, f"Cannot find alias arn: {ARN}:nowhere:alias"),
            ("nowhere", "1", 404, f"Function not found: {ARN}:nowhere:1"),
            ("cold", "alias", 404, f"Cannot find alias arn: {ARN}:cold:alias"),
            ("cold", "10", 404, f"Function not found: {ARN}:cold:10"),
            ("cold", "$LATEST", 400, UNPUBLISHED if call is put else NO_RESOURCE),
            ("nowhere", "$LATEST", 400, UNPUBLISHED if call is put else NO_RESOURCE),
        ):
            kind = "ResourceNotFoundException" if code == 404 else "InvalidParameterValueException"
            fails(kind, code, message, call, FunctionName=name, Qualifier=qualifier, **more)
    fails("ProvisionedConcurrencyConfigNotFoundException", 404, NO_CONFIG, get, FunctionName="cold", Qualifier="1")
    fails("ResourceNotFoundException", 404, f"Function not found: {ARN}:nowhere",
          client.list_provisioned_concurrency_configs, FunctionName="nowhere")  # fmt: skip
    fails("ValidationException", 400, "Value '0' at 'provisionedConcurrentExecutions' failed to satisfy constraint: "
          "Member must have value greater than or equal to 1",
          put, FunctionName="cold", Qualifier="1", ProvisionedConcurrentExecutions=0)  # fmt: skip


def test_pages(live: Live) -> None:
    client = live.client
    live.create("paged", Publish=True)
    for number in range(2, 12):
        client.update_function_configuration(FunctionName="paged", Timeout=number + 3)
        live.settle("paged")
        client.publish_version(FunctionName="paged")
    client.create_alias(FunctionName="paged", Name="a", FunctionVersion="11")
    for qualifier in ("a", "2", "10"):
        client.put_provisioned_concurrency_config(FunctionName="paged", Qualifier=qualifier, ProvisionedConcurrentExecutions=1)
    pages = client.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName="paged", PaginationConfig={"PageSize": 2})
    listed = [[each["FunctionArn"] for each in page["ProvisionedConcurrencyConfigs"]] for page in pages]
    assert listed == [[f"{ARN}:paged:2", f"{ARN}:paged:10"], [f"{ARN}:paged:a"]]
