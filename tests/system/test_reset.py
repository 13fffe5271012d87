"""A real container after a timeout or a crash: its processes have gone, /tmp and the environment are the same, the init ran anew."""

import base64
import json
from typing import Any

import pytest

from tests.server import create_function

pytestmark = pytest.mark.usefixtures("hanabi_server")

CODE = """
import os, socket, subprocess, sys, time

BORN = time.time()

def lambda_handler(event, context):
    do = event.get("do")
    if do:
        open("/tmp/kept", "a").write(do + " ")
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        os.write(int(os.environ.get("CHANNEL", 4)), b"\\xff\\xff\\0\\0oHALF") if do == "half" else None
    if do in ("hang", "half"):
        while True:
            pass
    if do == "exit":
        os._exit(3)
    if do == "kill":
        os.kill(os.getpid(), 9)
    if do == "hang up":
        socket.socket(fileno=4).shutdown(socket.SHUT_RDWR)
        os._exit(3)
    if do == "eat":
        kept = bytearray(400 << 20)
        return len(kept)
    processes = [name for name in os.listdir("/proc") if name.isdigit()]
    kept = open("/tmp/kept").read() if os.path.exists("/tmp/kept") else ""
    return {"kept": kept, "stream": context.log_stream_name, "processes": len(processes), "born": BORN, "pid": os.getpid()}
"""
NODE = """
const { appendFileSync, existsSync, readFileSync, readdirSync } = require("node:fs");

exports.handler = async (event, context) => {
  if (event.do) appendFileSync("/tmp/kept", event.do + " ");
  if (event.do === "hang") for (;;);
  if (event.do === "exit") process.exit(3);
  return {
    kept: existsSync("/tmp/kept") ? readFileSync("/tmp/kept", "utf8") : "", stream: context.logStreamName,
    processes: readdirSync("/proc").filter((name) => /^\\d+$/.test(name)).length,
  };
};
"""


def call(client: Any, name: str, **event: Any) -> tuple[Any, str]:
    """(answer, log)"""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail")
    return json.loads(answer["Payload"].read()), base64.b64decode(answer["LogResult"]).decode()


def go_through(client: Any, name: str, ends: list[str]) -> None:
    first, _ = call(client, name)
    for number, end in enumerate(ends, 1):
        error, log = call(client, name, do=end)
        assert error["errorType"] == ("Sandbox.Timedout" if end in ("hang", "half") else "Runtime.ExitError"), error
        if end in ("hang", "half"):
            assert "Duration: 4000.00 ms\tBilled Duration: 4000 ms" in log
        if end == "eat":
            assert "Max Memory Used: 128 MB" in log and "Runtime.OutOfMemory" in log
        after, log = call(client, name)
        assert after["stream"] == first["stream"]
        assert after["kept"].split(" ")[:-1] == ends[:number]
        assert after["processes"] == 2  # the agent, and itself
        assert "Init Duration" not in log and "Status" not in log
        assert call(client, name)[0] == after  # and warm


def test_python_after_each_kind_of_end(lambda_client: Any) -> None:
    name = create_function(lambda_client, "reset-python", CODE, Runtime="python3.13", MemorySize=256, Timeout=4)
    go_through(lambda_client, name, ["hang", "exit"])
    name = create_function(
        lambda_client, "reset-memory", CODE, Runtime="python3.13", MemorySize=128, Timeout=60
    )  # which takes a while to fill
    go_through(lambda_client, name, ["kill", "eat", "exit"])


def test_half_a_frame_of_the_one_before_is_not_heard(lambda_client: Any) -> None:
    name = create_function(lambda_client, "reset-half", CODE, Runtime="python3.13", MemorySize=256, Timeout=4)
    go_through(lambda_client, name, ["half", "hang"])


def test_a_channel_that_was_shut_down_is_no_loss(lambda_client: Any) -> None:
    name = create_function(lambda_client, "reset-shut", CODE, Runtime="python3.13", MemorySize=256, Timeout=4)
    call(lambda_client, name)
    call(lambda_client, name, do="hang up")
    assert call(lambda_client, name)[0]["processes"] == 2


def test_node(lambda_client: Any) -> None:
    name = create_function(
        lambda_client, "reset-node", {"index.js": NODE}, Runtime="nodejs22.x", Handler="index.handler", MemorySize=512, Timeout=4
    )
    go_through(lambda_client, name, ["hang", "exit"])


def test_a_custom_runtime_on_the_runtime_api(lambda_client: Any) -> None:
    """On the Runtime API: another runtime asks on the same address."""
    code = {"bootstrap": BOOTSTRAP}
    name = create_function(lambda_client, "reset-custom", dict(code), Runtime="provided.al2023", Handler="x", MemorySize=256, Timeout=4)
    go_through(lambda_client, name, ["hang", "exit"])


BOOTSTRAP = """#!/bin/sh
API="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  EVENT=$(curl -sS -D /tmp/.headers "$API/next") || exit 1
  ID=$(grep -i lambda-runtime-aws-request-id /tmp/.headers | tr -d '\\r' | cut -d' ' -f2)
  case "$EVENT" in
    *hang*) printf 'hang ' >> /tmp/kept; sleep 100 ;;
    *exit*) printf 'exit ' >> /tmp/kept; exit 3 ;;
  esac
  KEPT=$(cat /tmp/kept 2>/dev/null)
  BODY="{\\"kept\\": \\"$KEPT\\", \\"stream\\": \\"$AWS_LAMBDA_LOG_STREAM_NAME\\", \\"processes\\": 2}"
  curl -sS -o /dev/null "$API/$ID/response" -d "$BODY"
done
"""
