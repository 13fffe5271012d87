"""The Telemetry API in real sandboxes: an extension of its own language that subscribes, and what it is told."""

import json
import time
from typing import Any

import pytest

from tests.server import create_function
from tests.system.test_extensions import layer
from tests.unit.runtime.telemetry.schema import check

# Listens at sandbox.localdomain, subscribes, and keeps every event in /tmp, where the function finds them.
COLLECTOR = """#!/var/lang/bin/python3.13
import http.server, json, os, threading, urllib.request

class Take(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/tmp/events", "ab") as file:
            file.write(b"".join(json.dumps(event).encode() + b"\\n" for event in json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass

api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"]
def ask(method, path, body=None, **headers):
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(api + path, body and json.dumps(body).encode(), named, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.headers, answer.read()

server = http.server.ThreadingHTTPServer(("sandbox.localdomain", 4243), Take)
threading.Thread(target=server.serve_forever, daemon=True).start()
headers, _ = ask("POST", "/2020-01-01/extension/register", {"events": ["INVOKE"]}, Lambda_Extension_Name=os.path.basename(__file__))
me = {"Lambda_Extension_Identifier": headers["Lambda-Extension-Identifier"]}
print("extension printed", ask("PUT", "/2022-07-01/telemetry", {
    "schemaVersion": "2025-01-29", "types": ["platform", "function", "extension"], "buffering": {"timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"},
}, **me)[1], flush=True)
while True:
    ask("GET", "/2020-01-01/extension/event/next", **me)
"""

CODE = """
import json, logging
logging.getLogger().setLevel("INFO")
def lambda_handler(event, context):
    logging.info("two\\nlines")
    try:
        return [json.loads(line) for line in open("/tmp/events")]
    except FileNotFoundError:
        return []
"""


@pytest.fixture(scope="module")
def collector(lambda_client: Any) -> str:
    return layer(lambda_client, "collector", {"extensions/collector": COLLECTOR})


def test_all_events(lambda_client: Any, collector: str) -> None:
    name = create_function(lambda_client, "telemetry", CODE, Runtime="python3.13", MemorySize=256, Layers=[collector], Timeout=20)
    invoke(lambda_client, name)
    time.sleep(1)  # it is frozen meanwhile: what it is told it has been told before
    events = invoke(lambda_client, name)
    for event in events:
        check(event, "2025-01-29")
    kinds = [event["type"].removeprefix("platform.") for event in events]
    for kind in ("initStart", "telemetrySubscription", "extension", "initRuntimeDone", "initReport", "start", "runtimeDone", "report"):
        assert kind in kinds, kinds
    records = [event["record"] for event in events if event["type"] == "function"]
    assert len(records) == 1 and records[0].endswith("\ttwo\nlines\n"), records
    printed = [event["record"] for event in events if event["type"] == "extension"]
    assert printed == ["extension printed b'\"OK\"'\n"]
    report = next(event["record"] for event in events if event["type"] == "platform.report")
    assert report["status"] == "success" and report["metrics"]["initDurationMs"] > 0


def invoke(client: Any, name: str) -> list[dict[str, Any]]:
    response = client.invoke(FunctionName=name, Payload=b"{}")
    answer = json.loads(response["Payload"].read())
    assert "FunctionError" not in response, answer
    events: list[dict[str, Any]] = answer
    return events
