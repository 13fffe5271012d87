"""Tenant isolation in real sandboxes: nothing of one tenant is ever seen by another."""

import base64
import concurrent.futures
import json
from typing import Any

from tests.server import Server, create_function
from tests.waiting import wait_for

CODE = """
import logging, os
seen = []

def lambda_handler(event, context):
    before = {"memory": list(seen), "files": sorted(os.listdir("/tmp")), "stream": context.log_stream_name}
    seen.append(context.tenant_id)
    open(f"/tmp/{context.tenant_id}", "w").close()
    logging.getLogger().warning("hello")
    return before | {"tenant": context.tenant_id}
"""


def test_two_tenants_share_nothing(lambda_client: Any, hanabi_server: Server) -> None:
    json_logs = {"LogFormat": "JSON"}
    name = create_function(
        lambda_client, "tenants", CODE, TenancyConfig={"TenantIsolationMode": "PER_TENANT"}, LoggingConfig=json_logs
    )  # fmt: skip

    def invoke(tenant: str) -> dict[str, Any]:
        answer = lambda_client.invoke(FunctionName=name, TenantId=tenant, LogType="Tail")
        log = base64.b64decode(answer["LogResult"]).decode()
        said: dict[str, Any] = json.loads(answer["Payload"].read())
        return said | {"log": [json.loads(line) for line in log.splitlines()]}

    first, second, third = invoke("blue"), invoke("green"), invoke("blue")
    assert [each["tenant"] for each in (first, second, third)] == ["blue", "green", "blue"]
    assert first["files"] == first["memory"] == second["files"] == second["memory"] == []
    assert third["files"] == third["memory"] == ["blue"] and third["stream"] == first["stream"] != second["stream"]
    (start,) = (line["record"] for line in second["log"] if line.get("type") == "platform.start")
    (report,) = (line["record"] for line in second["log"] if line.get("type") == "platform.report")
    (hello,) = (line for line in second["log"] if line.get("message") == "hello")
    assert start["tenantId"] == report["tenantId"] == hello["tenantId"] == "green"

    tenants = ["blue", "green"] * 4
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for tenant, said in zip(tenants, pool.map(invoke, tenants), strict=True):
            assert {*said["files"], *said["memory"]} <= {tenant} and said["tenant"] == tenant

    lambda_client.invoke(FunctionName=name, TenantId="later", InvocationType="Event")
    logs = hanabi_server.client("logs")

    def of_later() -> list[Any]:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern='"later"')["events"]
        return [event for event in found if '"platform.report"' in event["message"]]

    assert json.loads(wait_for(of_later)[0]["message"])["record"]["tenantId"] == "later"
    listed = {row["tenant"] for row in json.loads(hanabi_server.hanabi("ps", "--json")) if row["function"] == name}
    assert {"blue", "green"} <= listed
