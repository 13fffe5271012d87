"""Tools that follow logs, as people install them: `aws logs tail --follow` of the AWS CLI's version 2, and `sam logs --tail`.

They are fetched, so this runs only with HANABI_TEST_APPS=1 (`make test-apps`).
"""

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import toolchains
from tests.unit.services.logs.live import LiveLogs, live_logs

pytestmark = pytest.mark.skipif(os.environ.get("HANABI_TEST_APPS") != "1", reason="fetches packages and takes minutes: HANABI_TEST_APPS=1")

GROUP, STREAM = "/aws/lambda/hello", "2026/11/29/[$LATEST]0"
PATTERN = '{ $.level = "ERROR" }'


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LiveLogs]:
    with live_logs(tmp_path) as served:
        client = served.client()
        client.create_log_group(logGroupName=GROUP)
        client.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
        yield served


def test_aws_logs_tail(logs: LiveLogs) -> None:
    command, variables = toolchains.aws_cli()
    asked = ["--endpoint-url", logs.endpoint, "logs", "tail", "--follow", "--since", "1m", "--filter-pattern", PATTERN, GROUP]
    follow([*command, *asked], logs, variables)


def test_sam_logs(logs: LiveLogs) -> None:
    command, variables = toolchains.sam_cli()
    asked = ["logs", "--tail", "--cw-log-group", GROUP, "--filter", PATTERN]
    follow([*command, *asked], logs, variables | {"SAM_CLI_TELEMETRY": "0"})


def follow(command: list[str], logs: LiveLogs, variables: dict[str, str]) -> None:
    """Run a command until it has printed what was logged before, and what was logged after that."""
    client, before, after = logs.client(), uuid.uuid4().hex, uuid.uuid4().hex

    def put(level: str, text: str) -> None:
        event = {"timestamp": round(time.time() * 1000), "message": f'{{"level": "{level}", "text": "{text}"}}'}
        client.put_log_events(logGroupName=GROUP, logStreamName=STREAM, logEvents=[event])

    put("INFO", "not this")
    put("ERROR", before)
    lines: list[str] = []
    with subprocess.Popen(command, env=logs.environment | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tail:
        assert tail.stdout is not None
        for line in tail.stdout:
            lines.append(line)
            if before in line:
                put("INFO", "nor this")
                put("ERROR", after)
            if after in line:
                break
        tail.terminate()
    print("".join(lines))
    assert after in "".join(lines) and not any("this" in line for line in lines), lines
