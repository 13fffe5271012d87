"""A function that invokes itself with the SDK is stopped: the SDK hands the trace on, and the chain of requests is counted."""

import json
from typing import Any

from tests.server import Server, create_function
from tests.waiting import wait_for

AGAIN = """
import json, boto3
client = boto3.client("lambda")

def lambda_handler(event, context):
    print(f"round {event['round']}")
    again = json.dumps({"round": event["round"] + 1})
    client.invoke(FunctionName=context.function_name, InvocationType="Event", Payload=again)
"""
MAY_INVOKE = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}}
TRUST = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
}


def test_a_function_that_invokes_itself_is_stopped_after_sixteen_rounds(hanabi_server: Server, lambda_client: Any) -> None:
    iam, logs = hanabi_server.client("iam"), hanabi_server.client("logs")
    role = iam.create_role(RoleName="recursive", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    iam.put_role_policy(RoleName="recursive", PolicyName="invoke", PolicyDocument=json.dumps(MAY_INVOKE))
    name = create_function(lambda_client, "recursive", AGAIN, Role=role, Runtime="python3.13", MemorySize=512, Timeout=30)
    lambda_client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"round": 1}')

    def rounds() -> list[str]:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="round")["events"]
        return sorted((event["message"].strip() for event in events), key=lambda line: int(line.split()[1]))

    def is_dropped() -> bool:
        return "its function was reached in a recursive loop" in (hanabi_server.data_dir / "server.log").read_text()

    wait_for(is_dropped)
    wait_for(lambda: len(rounds()) >= 16)
    assert rounds() == [f"round {number}" for number in range(1, 17)]
