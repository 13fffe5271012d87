"""The handler that the layer puts in front: instruments the function's own, then is it."""

import os
from importlib import import_module

from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor

AwsLambdaInstrumentor().instrument()
module, _, name = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(import_module(module.replace("/", ".")), name)
