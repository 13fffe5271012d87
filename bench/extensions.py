"""What an extension costs an invocation: one that asks for its next event at once, beside none. Callers ask for the log, and wait."""

from typing import Any

from bench.load import run
from bench.warm import HANDLER, signed_invoke
from tests.server import Server, create_function, zip_of

EXTENSION = """#!/usr/bin/env python3
import os
from http.client import HTTPConnection

connection = HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def ask(method, path, headers, body=None):
    connection.request(method, "/2020-01-01/extension/" + path, body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer

registered = ask("POST", "register", {"Lambda-Extension-Name": "next"}, '{"events": ["INVOKE"]}')
identifier = {"Lambda-Extension-Identifier": registered.getheader("Lambda-Extension-Identifier")}
while True:
    ask("GET", "event/next", identifier)
"""


async def measure(server: Server, scale: float) -> dict[str, Any]:
    client = server.client("lambda")
    content = zip_of({"extensions/next": EXTENSION}, executable=["extensions/next"])
    layer = client.publish_layer_version(LayerName="bench-extension", Content={"ZipFile": content})["LayerVersionArn"]
    p50s_ms = []
    for name, layers in (("bench-extension-none", []), ("bench-extension-one", [layer])):
        create_function(client, name, HANDLER, MemorySize=1769, Layers=layers)
        request = signed_invoke(server, name, {"X-Amz-Log-Type": "Tail"})
        await run(server.port, request, clients=1, count=50)
        times = await run(server.port, request, clients=1, count=int(1000 * scale))
        assert not times.failures
        p50s_ms.append(times.quantile_ms(0.5))
    return {"invocation with an extension, p50 ms": p50s_ms[1], "cost of an extension p50 ms": p50s_ms[1] - p50s_ms[0]}
