"""The wiring of a node: what it tells at its start, whom it lets read what it keeps, and what it clears away."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.images import RuntimeImage
from hanabi.errors import ImageError
from hanabi.node.prepared_images import ANNOUNCE_INTERVAL_S, PreparedRuntimes
from hanabi.testing import ManualClock
from tests.conftest import needs_root
from tests.server import Server, create_function
from tests.waiting import wait_for

SECRET = ("state.db", "state.db-wal", "events.db", "record.db", "keys.json", "journal", "code", "spool", "run/state", "run/volumes")


@needs_root
def test_nobody_else_reads_what_a_node_keeps() -> None:
    with Server() as server:
        create_function(server.client("lambda"), "kept", "def lambda_handler(event, context): return 1")
        for name in SECRET:
            path = server.data_dir / name
            assert path.stat().st_mode & 0o077 == 0, f"{name}: {path.stat().st_mode:o}"
        assert os.listdir(server.data_dir / "spool") == []


@needs_root
def test_requests_and_starts_are_in_its_logs(tmp_path: Path) -> None:
    with Server("--access-log", str(tmp_path / "access.log"), "--pool-size", "0") as server:
        client = server.client("lambda")
        create_function(client, "logged", "def lambda_handler(event, context): return 1")
        answer = client.invoke(FunctionName="logged", Payload=b"{}")
        log = (server.data_dir / "server.log").read_text()
    lines = [line.split() for line in (tmp_path / "access.log").read_text().splitlines()]
    assert all(len(line) == 10 and line[1] == "127.0.0.1" for line in lines)
    invoked = next(line for line in lines if line[8] == "lambda:Invoke")
    assert invoked[2:5] == ["POST", "/2015-03-31/functions/logged/invocations", "200"]
    assert invoked[7] == answer["ResponseMetadata"]["RequestId"] and invoked[9].endswith(":root")
    assert re.search(r"cold start of logged:\$LATEST: \d+ ms, pool miss", log)


@needs_root
def test_roots_are_built_ahead_unless_told_otherwise(tmp_path: Path) -> None:
    """What cannot be built is said, and stops nothing."""
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no mirror answers >&2; exit 25\n")
    program.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="hanabi-", dir="/var/tmp") as images:
        os.chmod(images, 0o755)
        variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HANABI_NO_PREBUILD": "0"}
        with Server("--images-dir", images, variables=variables) as server:
            said = server.data_dir / "server.log"
            wait_for(lambda: said.read_text().count("could not be built ahead") == 2)
            log = said.read_text()
    assert "runtime root of python3.13: installing packages of Debian trixie" in log and "no mirror answers" in log
    assert log.index("of python3.13 ahead") < log.index("of python3.13 could not") < log.index("of nodejs22.x ahead")


CALLS = """
import json, time, boto3
def lambda_handler(event, context):
    logs, group, said = boto3.client("logs"), "/aws/lambda/" + event["other"], {}
    own = {"logGroupName": context.log_group_name, "logStreamName": context.log_stream_name}
    line = [{"timestamp": int(time.time() * 1000), "message": "from inside"}]
    for name, call in {
        "own": lambda: logs.put_log_events(logEvents=line, **own),
        "identity": lambda: boto3.client("sts").get_caller_identity(),
        "forge": lambda: logs.create_log_stream(logGroupName=group, logStreamName="forged"),
        "delete": lambda: logs.delete_log_group(logGroupName=group),
        "list": lambda: boto3.client("lambda").list_functions(),
        "climb": lambda: boto3.client("sts").assume_role(RoleArn=event["boss"], RoleSessionName="me"),
    }.items():
        try:
            call()
            said[name] = "done"
        except Exception as error:
            said[name] = error.response["Error"]["Code"]
    return said
"""


@needs_root
def test_what_a_function_may_do_by_default() -> None:
    """A role without policies, and `--roles` not given."""
    with Server("--roles", "strict", "--pool-size", "0") as server:
        client, iam = server.client("lambda"), server.client("iam")
        with pytest.raises(ClientError, match="The role defined for the function cannot be assumed by Lambda."):
            create_function(client, "early", CALLS)
        trust = {"Service": "lambda.amazonaws.com", "AWS": "000000000000"}
        document = json.dumps({"Statement": {"Effect": "Allow", "Principal": trust, "Action": "sts:AssumeRole"}})
        plain, boss = (iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"] for name in ("plain", "boss"))
        iam.attach_role_policy(RoleName="boss", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        create_function(client, "calls", CALLS, Role=plain, Timeout=60)
        server.client("logs").create_log_group(logGroupName="/aws/lambda/neighbour")
        answer = client.invoke(FunctionName="calls", Payload=json.dumps({"other": "neighbour", "boss": boss}))
        denied = dict.fromkeys(("forge", "delete", "list"), "AccessDeniedException") | {"climb": "AccessDenied"}
        assert json.loads(answer["Payload"].read()) == {"own": "done", "identity": "done"} | denied
        iam.delete_role(RoleName="plain")
        with pytest.raises(ClientError, match=r"\(AccessDeniedException\).*cannot be assumed by Lambda."):
            client.invoke(FunctionName="calls")
        problems = [check["detail"] for check in json.loads(server.hanabi("doctor", "--json", check=False)) if check["name"] == "problem"]
        assert any("cannot be invoked: calls" in problem for problem in problems)


@needs_root
def test_a_second_server_is_refused_in_one_line_and_does_no_harm() -> None:
    with Server() as server:
        create_function(server.client("lambda"), "kept", "def lambda_handler(event, context): return 1")
        assert (
            refusal(server) == f"{server.data_dir} is in use by another hanabi (process {pid(server)}); stop it or name another --data-dir"
        )
        other = Server()
        other.port = server.port
        assert refusal(other) == f"port {server.port} is in use; name another --port"
        other.remove()
        assert server.client("lambda").invoke(FunctionName="kept")["Payload"].read() == b"1"


def refusal(server: Server) -> str:
    done = subprocess.run(server.command(), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.removeprefix("hanabi up: ").rstrip("\n")


def pid(server: Server) -> int:
    assert server.process is not None
    return server.process.pid


async def test_a_runtime_that_cannot_be_announced_is_tried_again() -> None:
    clock = ManualClock()
    health = Health(clock)
    retries = RetryQueue(clock, health, longest_delay_s=ANNOUNCE_INTERVAL_S)
    expected: list[str] = []
    times: list[float] = []

    class Announced(PreparedRuntimes):
        def __init__(self) -> None: ...

        async def ensure(self, runtime: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
            if runtime == "python3.11" and len(times) < 11:
                times.append(clock.monotonic())
                raise ImageError("no network")
            expected.append(runtime)
            return None  # type: ignore[return-value]

    await Announced().announce(["python3.11", "python3.13"], retries)
    assert expected == ["python3.13"]
    assert "python3.11 can be kept ready: no network" in health.problems[0].text
    await clock.advance(3000)
    assert expected == ["python3.13", "python3.11"] and health.problems == []
    assert times[-1] - times[-2] == 512
