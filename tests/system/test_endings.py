"""How runtimes end in a real sandbox: after their answer, with all that they printed under its own request."""

import re
import textwrap
from typing import Any

import pytest

from tests.server import ROLE, Server, create_function, zip_of
from tests.system.test_runtimes import NODE, PROVIDED, call

PYTHON = {"Runtime": "python3.11", "Handler": "app.handler", "MemorySize": 1769}
ENDINGS = """
exports.handler = async (event) => {
  switch (event.how) {
    case "reject": Promise.reject(new Error("nobody awaits me")); break;
    case "immediate": setImmediate(() => process.exit(0)); break;
    case "tick": process.nextTick(() => process.exit(3)); break;
  }
  return event.n;
};
"""

LATE_EXIT = """
import os, threading, time
def end():
    time.sleep(0.002)
    os._exit(0)
def handler(event, context):
    threading.Thread(target=end).start()
    return event["n"]
"""


@pytest.mark.parametrize("how", ["reject", "immediate"])
def test_a_node_that_ends_after_its_answer_fails_nobody(lambda_client: Any, how: str) -> None:
    name = create_function(lambda_client, f"node-ends-{how}", {"index.js": ENDINGS}, **NODE)
    for n in range(50):
        answer, response, log = call(lambda_client, name, {"how": how, "n": n})
        assert answer == n and "FunctionError" not in response, (n, answer, log)


def test_a_python_that_ends_a_little_after_its_answer_fails_nobody(lambda_client: Any) -> None:
    """But for one that has it already when the thread, late on a busy machine, ends the process: so it is in Lambda."""
    name = create_function(
        lambda_client, "python-ends", {"app.py": LATE_EXIT}, Runtime="python3.11", Handler="app.handler", MemorySize=1769
    )
    right = 0
    for n in range(50):
        answer, response, _ = call(lambda_client, name, {"n": n})
        if "FunctionError" not in response:
            assert answer == n
            right += 1
    assert right >= 20, right


LOUD = """
exports.handler = async ({ lines, way, end }) => {
  const text = "x".repeat(100);
  for (let i = 0; i < lines; i++) {
    if (way === "both") process[i % 2 ? "stderr" : "stdout"].write(`line ${i} ${text}\\n`);
    else console.log(`line ${i} ${text}`);
  }
  const more = `for i in $(seq ${lines} ${lines + 999}); do echo line $i; done`;
  if (way === "child") require("node:child_process").execSync(more, { stdio: "inherit" });
  if (end === "throw") throw new Error("at the end");
  if (end === "exit") process.exit(1);
};
"""
PRINTER = '#!/bin/bash\napi="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"\n' + textwrap.dedent(
    r"""
    while true; do
      id=$(curl -sS -D - -o /dev/null "$api/next" | tr -d '\r' | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
      for i in $(seq 0 5999); do echo "line $i $(printf '%0100d' 0)"; done
      curl -sS -o /dev/null -d '"done"' "$api/$id/response"
    done
    """
)


def printed(server: Server, name: str) -> list[list[int]]:
    """The numbers of the lines between each START and its END, all of them in the order of the log."""
    group, logs = f"/aws/lambda/{name}", server.client("logs")
    found: list[list[int]] = []
    for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
        token, inside = "", None  # type: str, list[int] | None
        while True:
            more = {"nextToken": token} if token else {}
            page = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True, **more)
            for event in page["events"]:
                text = event["message"].rstrip("\n")
                if text.startswith("START "):
                    assert inside is None
                    inside = []
                    found.append(inside)
                elif text.startswith("END "):
                    inside = None
                elif match := re.search(r"\bline (\d+)\b", text):
                    assert inside is not None, f"a line outside of any invocation: {text[:60]}"
                    inside.append(int(match[1]))
            if page["nextForwardToken"] == token:
                break
            token = page["nextForwardToken"]
    return found


@pytest.mark.parametrize(
    ("runtime", "event", "count"),
    [
        ("node", {"lines": 6000}, 6000),
        ("node", {"lines": 6000, "end": "throw"}, 6000),
        ("node", {"lines": 6000, "end": "exit"}, 6000),
        ("node", {"lines": 6000, "way": "both", "end": "exit"}, 6000),
        ("node", {"lines": 1000, "way": "child"}, 2000),
        ("node", {"lines": 60_000}, 60_000),
        ("provided", {}, 6000),
    ],
)
def test_every_line_is_under_its_own_request(
    hanabi_server: Server, lambda_client: Any, runtime: str, event: dict[str, Any], count: int
) -> None:
    name = f"loud-{runtime}-{'-'.join(map(str, event.values()))}"
    if runtime == "node":
        create_function(lambda_client, name, {"index.js": LOUD}, **{**NODE, "Timeout": 60, "MemorySize": 1769})
    else:
        create_function(lambda_client, name, {"bootstrap": PRINTER}, **{**PROVIDED, "Timeout": 60, "MemorySize": 1769})
    for _ in range(2):
        call(lambda_client, name, event)
    assert printed(hanabi_server, name) == [list(range(count))] * 2


HEAP = """
exports.handler = async ({ live, garbage }) => {
  const kept = [];
  for (let i = 0; i < live; i++) kept.push(new Array(131072).fill(i));
  for (let i = 0; i < garbage; i++) new Array(131072).fill(i);
  return [require("v8").getHeapStatistics().heap_size_limit / 1048576, kept.length, typeof gc];
};
"""


@pytest.mark.parametrize("options", [{}, {"Environment": {"Variables": {"NODE_OPTIONS": "--max-old-space-size=200"}}}])
def test_nodes_heap_is_the_functions_memory(lambda_client: Any, options: dict[str, Any]) -> None:
    """In the pool and beside it, with so much garbage as kills a function whose heap is the host's."""
    for memory_mb in (256, 1769):
        name = f"heap-{memory_mb}-{len(options)}"
        create_function(lambda_client, name, {"index.js": HEAP}, **{**NODE, "MemorySize": memory_mb, "Timeout": 60}, **options)
        limit_mb, kept, gc = call(lambda_client, name, {"live": 80, "garbage": 600})[0]
        assert (kept, gc) == (80, "function")
        assert 200 <= limit_mb <= 600 if options else 0.85 * memory_mb <= limit_mb <= 1.2 * memory_mb


WRAPPER = """#!/bin/bash
export ADDED="by the wrapper" _HANDLER=other.handler
unset TAKEN
exec "$@"
"""


@pytest.mark.parametrize(
    ("runtime", "file", "source"),
    [
        (
            "python3.11",
            "other.py",
            "import os\ndef handler(event, context):\n    return [os.environ.get(each) for each in ('ADDED', 'TAKEN')]\n",
        ),
        ("nodejs22.x", "other.js", "exports.handler = async () => [process.env.ADDED, process.env.TAKEN ?? null];"),
    ],
)
def test_what_a_wrapper_makes_of_the_environment_counts(lambda_client: Any, runtime: str, file: str, source: str) -> None:
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper.sh", "TAKEN": "away by the wrapper"}
    archive = zip_of({"wrapper.sh": WRAPPER, file: source}, executable=["wrapper.sh"])
    name = f"wrapped-{runtime.partition('.')[0]}"
    settings = {"Runtime": runtime, "Handler": "app.handler", "MemorySize": 512, "Environment": {"Variables": variables}, "Role": ROLE}
    lambda_client.create_function(FunctionName=name, Code={"ZipFile": archive}, **settings)
    lambda_client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert call(lambda_client, name, {})[0] == ["by the wrapper", None]
