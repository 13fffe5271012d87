"""Functions with tenant isolation as boto3 sees them."""

from tests.unit.services.lambda_.support import Live, fails

PER_TENANT = {"TenantIsolationMode": "PER_TENANT"}
MISSING = "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again."


def test_a_function_with_tenants(live: Live) -> None:
    client = live.client
    made = live.create("tenants", TenancyConfig=PER_TENANT, Publish=True)
    assert made["TenancyConfig"] == PER_TENANT
    assert client.get_function_configuration(FunctionName="tenants")["TenancyConfig"] == PER_TENANT
    live.create("alone")
    assert "TenancyConfig" not in client.get_function_configuration(FunctionName="alone")
    assert live.invoke("tenants", TenantId="blue:1 @=+-/")["StatusCode"] == 200
    assert live.invoker.seen[-1].route.version.tenant == "blue:1 @=+-/"
    assert live.invoke("tenants:1", TenantId="green")["ExecutedVersion"] == "1"
    assert live.invoke("tenants", TenantId="blue", InvocationType="Event")["StatusCode"] == 202
    assert live.invoke("tenants", TenantId="blue", InvocationType="DryRun")["StatusCode"] == 204


def test_a_tenant_too_few_or_too_many(live: Live) -> None:
    client = live.client
    live.create("needs-tenants", TenancyConfig=PER_TENANT)
    live.create("has-none")
    for kind in ("RequestResponse", "Event", "DryRun"):
        fails("InvalidParameterValueException", 400, MISSING, client.invoke, FunctionName="needs-tenants", InvocationType=kind)
    fails("InvalidParameterValueException", 400, MISSING, client.invoke_with_response_stream, FunctionName="needs-tenants")
    fails("InvalidParameterValueException", 400, MISSING, client.invoke_async, FunctionName="needs-tenants", InvokeArgs=b"{}")
    fails(
        "InvalidParameterValueException",
        400,
        "is not enabled with tenancy configuration",
        client.invoke,
        FunctionName="has-none",
        TenantId="x",
    )
    fails(
        "ValidationException",
        400,
        "at 'tenantId' failed to satisfy constraint",
        client.invoke,
        FunctionName="needs-tenants",
        TenantId="a#b",
    )
    fails("ValidationException", 400, "at 'tenantId'", client.invoke, FunctionName="needs-tenants", TenantId="a" * 257)


def test_what_tenants_exclude(live: Live) -> None:
    client = live.client
    live.create("excluding", TenancyConfig=PER_TENANT, Publish=True)
    text = "is not supported for functions with tenant isolation."
    fails("InvalidParameterValueException", 400, text, client.create_function_url_config, FunctionName="excluding", AuthType="NONE")
    fails("InvalidParameterValueException", 400, text, client.put_provisioned_concurrency_config, FunctionName="excluding", Qualifier="1",
          ProvisionedConcurrentExecutions=1)  # fmt: skip
    fails("ValidationException", 400, "tenancyConfig", live.create, name="odd", TenancyConfig={"TenantIsolationMode": "PER_PLANET"})
