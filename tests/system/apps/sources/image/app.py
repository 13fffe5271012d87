"""The application `image` of test_apps."""

import json
import os


def handler(event, context):
    print("image got", event["rawPath"])
    return {"statusCode": 200, "body": json.dumps({"path": event["rawPath"], "cwd": os.getcwd()})}
