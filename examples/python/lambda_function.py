"""Says hello, logs it, and asks AWS's own SDK who this function is."""

import logging
import os

import boto3

logger = logging.getLogger()
logger.setLevel(logging.INFO)
sts = boto3.client("sts")  # made once, at init; reused while the environment is warm


def lambda_handler(event, context):
    name = event.get("name", "world")
    logger.info("greeting %s, %d ms left", name, context.get_remaining_time_in_millis())
    return {
        "message": f"{os.environ.get('GREETING', 'Hello')}, {name}!",
        "request_id": context.aws_request_id,
        "role": sts.get_caller_identity()["Arn"],
    }
