"""CloudWatch Logs as real clients see it: boto3 and the AWS CLI."""

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, EventStreamError

from hanabi.services.logs.service import LogsService
from tests.unit.services.logs.live import LiveLogs, live_logs
from tests.unit.services.logs.support import GROUPS, Client

CLI = [sys.executable, "-W", "ignore", "-m", "awscli", "logs"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLogs]:
    with live_logs(tmp_path_factory.mktemp("logs")) as served:
        yield served


def make(client: Any, group: str, *streams: str) -> None:
    client.create_log_group(logGroupName=group)
    for stream in streams:
        client.create_log_stream(logGroupName=group, logStreamName=stream)


def put(client: Any, group: str, stream: str, *messages: str) -> Any:
    now_ms = round(time.time() * 1000)
    events = [{"timestamp": now_ms, "message": message} for message in messages]
    return client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def test_every_operation_is_authorised_by_its_own_action() -> None:
    service: LogsService = Client().service
    assert {operation.action for operation in service.operations.values()} == {f"logs:{name}" for name in service.operations}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_live_tail(logs: LiveLogs, host: str) -> None:
    client = logs.client(endpoint=logs.endpoint.replace("127.0.0.1", host))
    group = f"tail-{host}"
    make(client, group, "s")
    with closing(client.start_live_tail(logGroupIdentifiers=[f"{GROUPS}:{group}"])["responseStream"]) as stream:
        events = iter(stream)
        assert next(events)["sessionStart"]["logGroupIdentifiers"] == [f"{GROUPS}:{group}"]
        put(client, group, "s", "first", "second")
        seen: list[str] = []
        while len(seen) < 2:
            seen += [each["message"] for each in next(events)["sessionUpdate"]["sessionResults"]]
        assert seen == ["first", "second"]
    with pytest.raises(ClientError) as caught:
        client.start_live_tail(logGroupIdentifiers=[f"{GROUPS}:none"])
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    with pytest.raises(ClientError) as caught:
        client.start_live_tail(logGroupIdentifiers=[f"{GROUPS}:{number}" for number in range(11)])
    assert "at 'logGroupIdentifiers' failed to satisfy constraint: Member must have length less than or equal to 10" in str(caught.value)


def test_live_tail_through_a_name_with_a_prefix(logs: LiveLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 puts `stream-` before the host. A name below `localhost` stays one with that."""
    port = urlsplit(logs.endpoint).port
    client = logs.client(endpoint=f"http://logs.localhost:{port}", config={"inject_host_prefix": True})
    monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", lambda host, *more, **options: [(2, 1, 6, "", ("127.0.0.1", port))])
    make(client, "prefixed", "s")
    answer = client.start_live_tail(logGroupIdentifiers=[f"{GROUPS}:prefixed"])
    with closing(answer["responseStream"]) as stream:
        assert "sessionStart" in next(iter(stream))


def test_a_session_ends_when_the_server_stops(tmp_path: Path) -> None:
    with live_logs(tmp_path) as logs:
        client = logs.client()
        make(client, "g")
        with closing(client.start_live_tail(logGroupIdentifiers=[f"{GROUPS}:g"])["responseStream"]) as stream:
            events = iter(stream)
            next(events)
            logs.stop()
            try:
                assert all("sessionUpdate" in event for event in events)
            except EventStreamError as error:
                raise AssertionError(error) from None


def test_a_large_batch_of_many_events(logs: LiveLogs) -> None:
    client = logs.client()
    make(client, "large", "s")
    put(client, "large", "s", *('"\\' * 38 + "\n" for _ in range(10_000)))  # 1,030,000 bytes; in JSON, over 2 MB
    page = client.get_log_events(logGroupName="large", logStreamName="s", startFromHead=True)
    assert len(page["events"]) == 10_000
    with pytest.raises(ClientError) as caught:
        put(client, "large", "s", "x" * 1_048_551)
    assert caught.value.response["Error"]["Message"] == "Upload too large: 1048577 bytes exceeds limit of 1048576"


def test_identifiers_are_not_repeated_in_errors(logs: LiveLogs) -> None:
    for call in (logs.client().describe_log_streams, lambda **where: logs.client().get_log_events(logStreamName="s", **where)):
        with pytest.raises(ClientError) as caught:
            call(logGroupIdentifier=f"{GROUPS}:g:*")
        assert caught.value.response["Error"] == {
            "Code": "InvalidParameterException",
            "Message": "1 validation error detected: Value at 'logGroupIdentifier' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: [\w#+=/:,.@-]*",
        }


def test_the_aws_cli_follows(logs: LiveLogs) -> None:
    """`aws logs start-live-tail` prints what comes in until it is told to end."""
    client = logs.client()
    group, stream = "/aws/lambda/cli", "2026/11/29/[$LATEST]0"
    make(client, group, stream)
    command = [*CLI, "start-live-tail", "--log-group-identifiers", f"{GROUPS}:{group}"]
    with subprocess.Popen(command, env=logs.environment, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        printed: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda: printed.put(tail.stdout.readline() if tail.stdout else ""))
        reader.start()
        while printed.empty():  # when its session begins is not known
            put(client, group, stream, "a line")
            reader.join(0.3)
        tail.terminate()
    assert printed.get() == "a line\n"
