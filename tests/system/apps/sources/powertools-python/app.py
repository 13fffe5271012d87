"""The application `powertools-python` of test_apps."""

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response, content_types
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.shared.cookies import Cookie
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="shop")
tracer = Tracer(service="shop")
metrics = Metrics(namespace="Shop", service="shop")
app = LambdaFunctionUrlResolver()


@app.get("/todos")
@tracer.capture_method
def todos():
    metrics.add_metric(name="Todos", unit=MetricUnit.Count, value=1)
    logger.info("todos", extra={"n": 1})
    return {"todos": [1, 2], "q": app.current_event.query_string_parameters, "ip": app.current_event.request_context.http.source_ip}


@app.get("/todos/<todo_id>")
def todo(todo_id: str):
    if todo_id == "0":
        raise NotFoundError("no such todo")
    return {"id": todo_id}


@app.post("/todos")
def add():
    return Response(201, content_types.APPLICATION_JSON, {"got": app.current_event.json_body}, cookies=[Cookie("a", "1"), Cookie("b", "2")])


@app.get("/err")
def err():
    raise ValueError("bad")


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL, log_event=True)
@tracer.capture_lambda_handler
@metrics.log_metrics(capture_cold_start_metric=True)
def lambda_handler(event: dict, context: LambdaContext) -> dict:
    return app.resolve(event, context)
