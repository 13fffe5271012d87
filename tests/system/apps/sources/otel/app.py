"""The application `otel` of test_apps: what the layer instruments, and a span of its own."""

import os

from opentelemetry import trace


def handler(event, context):
    with trace.get_tracer("app").start_as_current_span("own") as span:
        span.set_attribute("n", event["n"])
        trace_id = f"{span.get_span_context().trace_id:032x}"
        return {"trace": trace_id, "header": os.environ["_X_AMZN_TRACE_ID"], "handler": os.environ["_HANDLER"]}
