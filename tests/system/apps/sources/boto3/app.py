"""Calls another function, and writes a log of its own; needs a role that may."""

import json
import os
import time

import boto3

functions, logs = boto3.client("lambda"), boto3.client("logs")
GROUP = {"logGroupName": "/app/mine"}


def lambda_handler(event, context):
    answer = functions.invoke(FunctionName=os.environ["OTHER"], Payload=json.dumps({"rawPath": "/inner"}))
    for make in (lambda: logs.create_log_group(**GROUP), lambda: logs.create_log_stream(**GROUP, logStreamName="s")):
        try:
            make()
        except logs.exceptions.ResourceAlreadyExistsException:
            pass
    event = {"timestamp": int(time.time() * 1000), "message": "hello from inside"}
    logs.put_log_events(**GROUP, logStreamName="s", logEvents=[event])
    read = [each["message"] for each in logs.get_log_events(**GROUP, logStreamName="s")["events"]]
    queued = functions.invoke(FunctionName=os.environ["OTHER"], InvocationType="Event", Payload=b"{}")["StatusCode"]
    body = {"inner": json.load(answer["Payload"]), "read": read, "queued": queued}
    return {"statusCode": 200, "body": json.dumps(body)}
