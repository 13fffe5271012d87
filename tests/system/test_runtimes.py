"""Each runtime in a real container: how handlers may end, what they print, what they reach, and how a broken one is told of."""

import base64
import json
import re
import struct
import textwrap
import time
from typing import Any

import pytest

from tests.server import ROLE, create_function, zip_of

PROVIDED = {"Runtime": "provided.al2023", "Handler": "anything"}
NODE = {"Runtime": "nodejs22.x", "Handler": "index.handler", "MemorySize": 512}


def call(client: Any, name: str, event: Any, **options: Any) -> tuple[Any, dict[str, Any], list[str]]:
    """(answer, response, log lines) of an invocation."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail", **options)
    log = base64.b64decode(answer["LogResult"]).decode().splitlines()
    return json.loads(answer["Payload"].read() or b"null"), answer, log


# --- Node.js ----------------------------------------------------------------------------------------------------------

COMMONJS = """
const { LambdaClient, InvokeCommand } = require("@aws-sdk/client-lambda");

exports.handler = async (event, context) => {
  switch (event.do) {
    case "context": return {
      arn: context.invokedFunctionArn, id: context.awsRequestId, memory: context.memoryLimitInMB, stream: context.logStreamName,
      left: context.getRemainingTimeInMillis(), custom: context.clientContext?.custom, version: process.versions.node,
      environment: process.env.AWS_EXECUTION_ENV,
    };
    case "print": console.log("two\\nlines", { a: 1 }); console.error("bad"); return;
    case "throw": throw new RangeError("no good");
    case "reject": return Promise.reject(new TypeError("rejected"));
    case "string": throw "just text";
    case "uncaught": setTimeout(() => { throw new Error("nobody caught it"); }, 1); return new Promise(() => {});
    case "lost": Promise.reject(new Error("lost")); return new Promise((resolve) => setTimeout(resolve, 5000));
    case "exit": process.exit(7);
    case "bigint": return 1n;
    case "invoke": {
      const answer = await new LambdaClient({}).send(new InvokeCommand({ FunctionName: event.name, Payload: '{"do":"echo","x":1}' }));
      return JSON.parse(Buffer.from(answer.Payload));
    }
  }
  return event;
};
"""

CALLBACKS = """
exports.handler = (event, context, callback) => {
  if (event.do === "callback") setTimeout(() => callback(null, { called: event.n }), 2);
  if (event.do === "error") callback(new Error("called back"));
  if (event.do === "soon") {
    context.callbackWaitsForEmptyEventLoop = false;
    setTimeout(() => {}, 60_000);
    callback(null, "soon");
  }
  if (event.do === "succeed") context.succeed("succeeded");
};
"""

MODULE = """
import { LambdaClient, GetFunctionConfigurationCommand } from "@aws-sdk/client-lambda";
import { twice } from "./twice.js";

const started = await new Promise((resolve) => setTimeout(() => resolve("started"), 5));

export const handler = async (event, context) => {
  const answer = await new LambdaClient({}).send(new GetFunctionConfigurationCommand({ FunctionName: context.functionName }));
  return { started, twice: twice(event.n), handler: answer.Handler };
};
"""

STREAM = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("[1, ");
  if (event.fail) throw new Error("in the middle");
  stream.end("2]");
});
"""


@pytest.fixture(scope="module")
def node(lambda_client: Any) -> str:
    return create_function(lambda_client, "node-commonjs", {"index.js": COMMONJS}, **NODE)


def test_node_answers_and_has_its_context(lambda_client: Any, node: str) -> None:
    for event in ({"a": 1}, [1, 2], "text", 7, {"unicode": "花火 🎆"}):
        assert call(lambda_client, node, event)[0] == event
    client_context = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
    context, answer, _ = call(lambda_client, node, {"do": "context"}, ClientContext=client_context)
    assert context["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{node}"
    assert context["id"] == answer["ResponseMetadata"]["RequestId"]
    assert context["memory"] == "512" and context["custom"] == {"k": "v"} and 5000 < context["left"] <= 10000
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", context["stream"])
    assert context["version"].startswith("22.") and context["environment"] == "AWS_Lambda_nodejs22.x"


def test_node_prints_in_lambdas_format(lambda_client: Any, node: str) -> None:
    answer, response, log = call(lambda_client, node, {"do": "print"})
    assert answer is None
    request_id = response["ResponseMetadata"]["RequestId"]
    printed = log[log.index(f"START RequestId: {request_id} Version: $LATEST") + 1 : log.index(f"END RequestId: {request_id}")]
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{stamp}\t{request_id}\tINFO\ttwo", printed[0]), printed
    assert printed[1] == "lines { a: 1 }"
    assert re.fullmatch(rf"{stamp}\t{request_id}\tERROR\tbad", printed[2])


@pytest.mark.parametrize(
    ("what", "error_type", "message"),
    [
        ("throw", "RangeError", "no good"),
        ("reject", "TypeError", "rejected"),
        ("string", "string", "just text"),
        ("uncaught", "Error", "nobody caught it"),
        ("lost", "Runtime.UnhandledPromiseRejection", "Error: lost"),
        ("exit", "Runtime.ExitError", r"RequestId: \S+ Error: Runtime exited with error: exit status 7"),
        ("bigint", "Error", "Unable to stringify response body"),
    ],
)
def test_node_fails_as_lambdas_does_and_serves_on(lambda_client: Any, node: str, what: str, error_type: str, message: str) -> None:
    error, answer, log = call(lambda_client, node, {"do": what})
    assert answer["StatusCode"] == 200 and answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == error_type and re.fullmatch(message, error["errorMessage"]), error
    assert log[-1].endswith(f"Status: error\tError Type: {error_type}")
    if what == "throw":
        assert error["trace"][0] == "RangeError: no good" and "/var/task/index.js" in error["trace"][1]
        assert any('\tERROR\tInvoke Error \t{"errorType":"RangeError"' in line for line in log)
    assert call(lambda_client, node, {"n": 1})[0] == {"n": 1}


def test_the_node_sdk_reaches_hanabi(lambda_client: Any, node: str) -> None:
    assert call(lambda_client, node, {"do": "invoke", "name": node})[0] == {"do": "echo", "x": 1}


def test_node_callbacks(lambda_client: Any) -> None:
    name = create_function(lambda_client, "node-callbacks", {"index.js": CALLBACKS}, **NODE)
    assert call(lambda_client, name, {"do": "callback", "n": 3})[0] == {"called": 3}
    assert call(lambda_client, name, {"do": "succeed"})[0] == "succeeded"
    assert call(lambda_client, name, {"do": "nothing"})[0] is None
    error, answer, _ = call(lambda_client, name, {"do": "error"})
    assert answer["FunctionError"] == "Unhandled" and error["errorMessage"] == "called back"
    began = time.monotonic()
    assert call(lambda_client, name, {"do": "soon"})[0] == "soon"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("mjs", {"index.mjs": MODULE, "twice.js": "exports.twice = (n) => 2 * n;"}),
        ("type-module", {"index.js": MODULE, "twice.js": "export const twice = (n) => 2 * n;", "package.json": '{"type": "module"}'}),
    ],
)
def test_node_modules_with_top_level_await_and_the_sdk(lambda_client: Any, name: str, files: dict[str, str | bytes]) -> None:
    name = create_function(lambda_client, f"node-{name}", files, **NODE)
    assert call(lambda_client, name, {"n": 4})[0] == {"started": "started", "twice": 8, "handler": "index.handler"}


def test_node_streams(lambda_client: Any) -> None:
    name = create_function(lambda_client, "node-stream", {"index.js": STREAM}, **NODE)
    assert call(lambda_client, name, {})[0] == [1, 2]
    error, answer, _ = call(lambda_client, name, {"fail": True})
    assert answer["FunctionError"] == "Unhandled" and error["errorMessage"] == "in the middle"
    assert call(lambda_client, name, {})[0] == [1, 2]


@pytest.mark.parametrize(
    ("name", "code", "error_type", "message"),
    [
        ("missing-module", "require('nothing-here')", "Runtime.ImportModuleError", r"Error: Cannot find module 'nothing-here'.*"),
        ("syntax", "exports.handler = (;", "Runtime.UserCodeSyntaxError", r"SyntaxError: Unexpected token ';'"),
        ("missing-handler", "exports.other = 1", "Runtime.HandlerNotFound", "index.handler is undefined or not exported"),
        ("throws", "throw new RangeError('at load')", "RangeError", "at load"),
    ],
)
def test_node_code_that_does_not_load(lambda_client: Any, name: str, code: str, error_type: str, message: str) -> None:
    create_function(lambda_client, f"node-load-{name}", {"index.js": code}, **NODE)
    error, answer, log = call(lambda_client, f"node-load-{name}", {})
    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == error_type and re.fullmatch(message, error["errorMessage"], re.S), error
    assert any(line.startswith("INIT_REPORT") and f"Phase: invoke\tStatus: error\tError Type: {error_type}" in line for line in log), log


# --- Python 3.13 ------------------------------------------------------------------------------------------------------

PYTHON = """
import logging, os, sys, threading, urllib.error, urllib.request
import boto3

def ask_runtime_api(method, path):
    url = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}{path}"
    request = urllib.request.Request(url, b"{}" if method == "POST" else None, {"Lambda-Extension-Name": "tool"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()

def lambda_handler(event, context):
    if event["do"] == "version":
        logging.warning("careful")
        return [*sys.version_info[:2], boto3.client("sts").get_caller_identity()["Arn"], os.environ["AWS_EXECUTION_ENV"]]
    if event["do"] == "ask":
        return ask_runtime_api(event["method"], event["path"])
    if event["do"] == "raise":
        raise ExceptionGroup("several", [ValueError("one")])
    if event["do"] == "thread":
        worker = threading.Thread(target=lambda: 1 / 0)
        worker.start()
        worker.join()
        return "alive"
"""


@pytest.fixture(scope="module")
def python(lambda_client: Any) -> str:
    return create_function(lambda_client, "python-313", PYTHON, Runtime="python3.13", MemorySize=256)


def test_python_313(lambda_client: Any, python: str) -> None:
    answer, response, log = call(lambda_client, python, {"do": "version"})
    assert answer == [3, 13, f"arn:aws:sts::000000000000:assumed-role/test/{python}", "AWS_Lambda_python3.13"]
    request_id = response["ResponseMetadata"]["RequestId"]
    assert any(re.fullmatch(rf"\[WARNING\]\t\d{{4}}-\S+Z\t{request_id}\tcareful", line) for line in log), log
    error, answer, _ = call(lambda_client, python, {"do": "raise"})
    assert (error["errorType"], error["errorMessage"]) == ("ExceptionGroup", "several (1 sub-exception)")
    assert call(lambda_client, python, {"do": "thread"})[0] == "alive"


def test_tools_beside_a_bundled_runtime_reach_the_runtime_api(lambda_client: Any, python: str) -> None:
    """An extension comes too late after the init; the invocations belong to the bundled runtime."""
    for method, path, status, kind in [
        ("POST", "/2020-01-01/extension/register", 403, "Extension.RegistrationClosed"),
        ("PUT", "/2022-07-01/telemetry", 403, "Extension.MissingExtensionIdentifier"),
        ("GET", "/2018-06-01/runtime/invocation/next", 403, "InvalidStateTransition"),
        ("GET", "/nothing", 404, "NotFound"),
    ]:
        got, body = call(lambda_client, python, {"do": "ask", "method": method, "path": path})[0]
        assert (got, json.loads(body)["errorType"]) == (status, kind)


# --- a bootstrap of one's own -----------------------------------------------------------------------------------------

# The function of AWS's "Building a custom runtime" tutorial: a shell that sources the handler and asks with curl.
TUTORIAL = textwrap.dedent(
    r"""
    #!/bin/sh
    set -euo pipefail
    source $LAMBDA_TASK_ROOT/"$(echo $_HANDLER | cut -d. -f1).sh"
    while true
    do
      HEADERS="$(mktemp)"
      EVENT_DATA=$(curl -sS -LD "$HEADERS" "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/next")
      REQUEST_ID=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$HEADERS" | tr -d '[:space:]' | cut -d: -f2)
      RESPONSE=$($(echo "$_HANDLER" | cut -d. -f2) "$EVENT_DATA")
      curl "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/$REQUEST_ID/response" -d "$RESPONSE"
    done
    """
).lstrip()
HANDLER = 'function handler () {\n  echo "got $1" 1>&2;\n  RESPONSE="Echoing request: \'$1\'"\n  echo $RESPONSE\n}\n'


@pytest.mark.parametrize("runtime", ["provided.al2023", "provided.al2"])
def test_the_tutorials_shell_runtime(lambda_client: Any, runtime: str) -> None:
    name = f"shell-{runtime.replace('.', '-')}"
    create_function(lambda_client, name, {"bootstrap": TUTORIAL, "function.sh": HANDLER}, Runtime=runtime, Handler="function.handler")
    for number in range(3):
        answer = lambda_client.invoke(FunctionName=name, Payload=b'{"n": %d}' % number, LogType="Tail")
        assert answer["Payload"].read().decode() == f"Echoing request: '{{\"n\": {number}}}'"
        assert f'got {{"n": {number}}}' in base64.b64decode(answer["LogResult"]).decode()


def elf_of_another_machine() -> bytes:
    """The head of a program for 64-bit PowerPC, which no Lambda has."""
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, 21, 1, 0x10000, 64, 0, 0, 64, 56, 1, 0, 0, 0) + bytes(56)


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("missing", {"other": "x"}, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ("machine", {"bootstrap": elf_of_another_machine()}, "fork/exec /var/task/bootstrap: exec format error"),
        ("no-hashbang", {"bootstrap": "echo hello\n"}, "fork/exec /var/task/bootstrap: exec format error"),
        ("interpreter", {"bootstrap": "#!/bin/sh\r\necho\r\n"}, "fork/exec /var/task/bootstrap: no such file or directory"),
        ("directory", {"bootstrap/file": "x"}, "fork/exec /var/task/bootstrap: permission denied"),
    ],
)
def test_a_bootstrap_that_cannot_be_executed(lambda_client: Any, name: str, files: dict[str, str | bytes], message: str) -> None:
    create_function(lambda_client, f"entrypoint-{name}", files, **PROVIDED)
    refuses_to_start(lambda_client, f"entrypoint-{name}", message)


def test_a_bootstrap_that_is_not_executable(lambda_client: Any) -> None:
    archive = zip_of({"bootstrap": "#!/bin/sh\n"})
    lambda_client.create_function(FunctionName="entrypoint-mode", Code={"ZipFile": archive}, Role=ROLE, **PROVIDED)
    lambda_client.get_waiter("function_active_v2").wait(FunctionName="entrypoint-mode", WaiterConfig={"Delay": 1})
    refuses_to_start(lambda_client, "entrypoint-mode", "fork/exec /var/task/bootstrap: permission denied")


def refuses_to_start(client: Any, name: str, message: str) -> None:
    error, answer, log = call(client, name, {})
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert error == {"errorType": "Runtime.InvalidEntrypoint", "errorMessage": f"RequestId: {request_id} Error: {message}"}
    assert log[-1].endswith("Status: error\tError Type: Runtime.InvalidEntrypoint")


@pytest.mark.parametrize(
    ("name", "script", "error_type", "message"),
    [
        ("at-once", "exit 0", "Runtime.ExitError", "Runtime exited without providing a reason"),
        ("with-status", "exit 9", "Runtime.ExitError", "Runtime exited with error: exit status 9"),
        ("killed", "kill -9 $$", "Runtime.ExitError", "Runtime exited with error: signal: killed"),
        ("in-the-middle", 'curl -sS "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next"; exit 0',
         "Runtime.ExitError", "Runtime exited without providing a reason"),
    ],
)  # fmt: skip
def test_a_runtime_that_ends(lambda_client: Any, name: str, script: str, error_type: str, message: str) -> None:
    create_function(lambda_client, f"ends-{name}", {"bootstrap": f"#!/bin/sh\n{script}\n"}, **PROVIDED)
    error, answer, _ = call(lambda_client, f"ends-{name}", {})
    assert answer["FunctionError"] == "Unhandled"
    assert error == {"errorType": error_type, "errorMessage": f"RequestId: {answer['ResponseMetadata']['RequestId']} Error: {message}"}


def test_a_runtime_that_never_asks(lambda_client: Any) -> None:
    """Ten seconds of init, then once more under the function's own timeout."""
    create_function(lambda_client, "never-asks", {"bootstrap": "#!/bin/sh\nexec sleep 600\n"}, **{**PROVIDED, "Timeout": 1})
    error, answer, log = call(lambda_client, "never-asks", {})
    assert error["errorType"] == "Sandbox.Timedout" and error["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert "Status: timeout" in log[-1]


def test_an_init_error_of_a_custom_runtime(lambda_client: Any) -> None:
    script = """#!/bin/sh
    curl -sS -X POST -d '{"errorMessage": "no database", "errorType": "Mine.NoDatabase"}' \\
        -H "Lambda-Runtime-Function-Error-Type: Runtime.NoDatabase" "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/init/error"
    exit 1
    """
    create_function(lambda_client, "init-error", {"bootstrap": textwrap.dedent(script)}, **PROVIDED)
    error, answer, log = call(lambda_client, "init-error", {})
    assert answer["FunctionError"] == "Unhandled"
    assert error == {"errorMessage": "no database", "errorType": "Mine.NoDatabase"}
    assert log[-1].endswith("Error Type: Runtime.NoDatabase")


# --- response streaming -----------------------------------------------------------------------------------------------

STREAMING = """
import base64, http.client, json, os

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
prefix = "/2018-06-01/runtime/invocation/"
while True:
    api.request("GET", prefix + "next")
    answer = api.getresponse()
    event, request_id = json.loads(answer.read()), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    api.putrequest("POST", f"{prefix}{request_id}/response")
    api.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    api.putheader("Transfer-Encoding", "chunked")
    api.putheader("Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body")
    api.endheaders()
    for chunk in event["chunks"]:
        api.send(b"%x\\r\\n%s\\r\\n" % (len(chunk), chunk.encode()))
    api.send(b"0\\r\\n")
    if event["fail"]:
        body = base64.b64encode(json.dumps({"errorMessage": "in the middle", "errorType": "Mine"}).encode())
        api.send(b"Lambda-Runtime-Function-Error-Type: Runtime.Mine\\r\\nLambda-Runtime-Function-Error-Body: %s\\r\\n" % body)
    api.send(b"\\r\\n")
    answer = api.getresponse()
    print("status", answer.status, answer.read(), flush=True)
"""


def test_a_custom_runtime_streams_its_answer(lambda_client: Any) -> None:
    files: dict[str, str | bytes] = {
        "bootstrap": "#!/bin/sh\nexec /var/lang/bin/python3.11 /var/task/runtime.py\n",
        "runtime.py": STREAMING,
    }
    wrapped = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"}}
    name = create_function(lambda_client, "streams", files, Environment=wrapped, MemorySize=256)
    assert call(lambda_client, name, {"chunks": ['{"a"', ": 1", "}"], "fail": False})[0] == {"a": 1}
    error, answer, log = call(lambda_client, name, {"chunks": ['{"a"'], "fail": True})
    assert answer["FunctionError"] == "Unhandled" and error == {"errorMessage": "in the middle", "errorType": "Mine"}
    assert any(line.startswith("status 202") for line in log) and log[-1].endswith("Status: error\tError Type: Runtime.Mine")
    text = "x" * 5_000_000
    assert call(lambda_client, name, {"chunks": ['"', text, '"'], "fail": False})[0] == text
