"""The AWS Lambda Web Adapter, unmodified, as an extension of a layer: web servers that know nothing of Lambda, buffered and streaming."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import toolchains
from tests.server import create_function, zip_of

SERVER = '''
"""A web server, as anywhere."""
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/stream"):
            return self.stream()
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.answer(201 if self.command == "POST" else 200, {
            "path": self.path, "method": self.command, "body": body, "cookie": self.headers.get("cookie"), "pid": os.getpid(),
            "context": json.loads(self.headers.get("x-amzn-lambda-context", "null")),
        })

    do_POST = do_GET

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "a=1")
        self.send_header("set-cookie", "b=2")
        self.end_headers()
        self.wfile.write(body)

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(4):
            self.wfile.write(b"8\\r\\nchunk %d\\n\\r\\n" % number)
            self.wfile.flush()
            time.sleep(0.5)
        self.wfile.write(b"0\\r\\n\\r\\n")

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''
BOOTSTRAP = '#!/bin/sh\nexec -- "${LAMBDA_TASK_ROOT}/${_HANDLER}"\n'  # of the adapter's own layer
RUN = "#!/bin/bash\nexec /var/lang/bin/python3 server.py\n"


@pytest.fixture(scope="module")
def layer(lambda_client: Any) -> str:
    adapter = toolchains.web_adapter().read_bytes()
    files: dict[str, str | bytes] = {"extensions/lambda-adapter": adapter, "bootstrap": BOOTSTRAP}
    content = {"ZipFile": zip_of(files, executable=["extensions/lambda-adapter", "bootstrap"])}
    arn = lambda_client.publish_layer_version(LayerName="LambdaAdapterLayer", Content=content)["LayerVersionArn"]
    assert isinstance(arn, str)
    return arn


def serve(client: Any, layer: str, name: str, mode: str) -> str:
    """The host and port of the URL of a function that is the server above."""
    lwa = {"AWS_LWA_INVOKE_MODE": "response_stream"} if mode == "RESPONSE_STREAM" else {}
    variables = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap", "PORT": "8000", "AWS_LWA_PORT": "8000", **lwa}}
    options = {"Handler": "run.sh", "Layers": [layer], "Environment": variables, "MemorySize": 1024}
    create_function(client, name, {"server.py": SERVER, "run.sh": RUN}, "run.sh", **options)
    client.add_permission(
        FunctionName=name, StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    client.add_permission(FunctionName=name, StatementId="all2", Action="lambda:InvokeFunction", Principal="*")
    url = client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode=mode)["FunctionUrl"]
    return str(urlsplit(url).netloc)


@pytest.fixture(scope="module")
def buffered(lambda_client: Any, layer: str) -> str:
    return serve(lambda_client, layer, "adapter", "BUFFERED")


@contextmanager
def ask(host: str, path: str, body: str | None = None, **headers: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        connection.request("GET" if body is None else "POST", path, None if body is None else body.encode(), headers)
        yield connection.getresponse()


def test_requests_reach_a_server_that_knows_nothing_of_lambda(buffered: str) -> None:
    answers = []
    for number in range(3):
        with ask(buffered, f"/things/%C3%BC?n={number}", "ü" if number else None, Cookie="c=3") as answer:
            answers.append(json.loads(answer.read()))
        assert answer.status == (201 if number else 200)
        assert answer.headers.get_all("set-cookie") == ["a=1", "b=2"] and answer.headers["content-type"] == "application/json"
    assert [answer["path"] for answer in answers] == [f"/things/%C3%BC?n={number}" for number in range(3)]
    assert [answer["body"] for answer in answers] == ["", "ü", "ü"] and {answer["cookie"] for answer in answers} == {"c=3"}
    assert len({answer["pid"] for answer in answers}) == 1 and len({answer["context"]["request_id"] for answer in answers}) == 3


def test_a_stream_arrives_while_the_server_makes_it(lambda_client: Any, layer: str) -> None:
    host = serve(lambda_client, layer, "adapter-streams", "RESPONSE_STREAM")
    with ask(host, "/") as answer:
        assert (answer.status, json.loads(answer.read())["path"]) == (200, "/")
    with ask(host, "/stream") as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
        first = answer.readline()
        began = time.monotonic()
        assert first == b"chunk 0\n" and answer.read() == b"chunk 1\nchunk 2\nchunk 3\n"
        assert time.monotonic() - began > 0.5  # it was still to come
