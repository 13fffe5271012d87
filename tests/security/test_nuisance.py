"""What a hostile function does to the host around its walls, and to its neighbours: docs/security.md names these tests."""

import io
import json
import pathlib
import re
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.security.hostile import CHANNEL, PRELUDE, evaluate
from tests.server import ROLE, Server, create_function
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def run(lambda_client: Any) -> Any:
    """Evaluates an expression in a function, in one that does nothing else unless told."""
    neighbour = create_function(lambda_client, "nuisance-neighbour", PRELUDE, MemorySize=512, Timeout=30)

    def run(expression: str, function: str = neighbour, **names: Any) -> Any:
        return evaluate(lambda_client, function, expression, **names)

    return run


@pytest.fixture(scope="module")
def sly(lambda_client: Any) -> str:
    return create_function(lambda_client, "nuisance-sly", PRELUDE + CHANNEL, MemorySize=256, Timeout=30)


def test_the_runtime_channel_leads_to_no_network_but_its_own(run: Any, sly: str) -> None:
    assert run("names_by_channel()", sly) == sorted(run("[name for _, name in socket.if_nameindex()]", sly))
    run("attempt(lambda: take_name('nuisance-taken'))", sly)
    assert "nuisance-taken" not in pathlib.Path("/proc/net/unix").read_text()


def test_a_descriptor_sent_to_the_host_does_not_hold_it_up(run: Any, sly: str, lambda_client: Any) -> None:
    began = time.monotonic()
    lambda_client.invoke(FunctionName=sly, Payload=json.dumps({"run": "send_a_socket_that_lingers(3600)"}).encode())["Payload"].read()
    assert run("1 + 1") == 2
    assert time.monotonic() - began < 25


def test_a_flood_of_log_lines_leaves_others_their_time(run: Any, sly: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        run("1 + 1"), run("1 + 1", sly)
        flooding = pool.submit(run, "flood(4)", sly)
        count = 0
        while not flooding.done():
            assert run("1 + 1") == 2
            count += 1
    assert count >= 40  # one every 100 ms; when the flood had the loop for itself, 12


def test_what_runs_in_the_background_is_frozen(run: Any, sly: str, hanabi_server: Server) -> None:
    run("daemon()", sly)

    def states() -> set[str]:
        return {row["state"] for row in json.loads(hanabi_server.hanabi("ps", "--json")) if row["function"] == sly}

    wait_for(lambda: states() == {"frozen"})
    frozen = time.time()
    time.sleep(0.5)
    beat = float(run("open('/tmp/beat').read()", sly))
    assert beat < frozen or beat > frozen + 0.5  # before the freeze, or after this thaw: not in between


def test_the_memory_of_sockets_is_bounded(run: Any, lambda_client: Any) -> None:
    name = create_function(lambda_client, "nuisance-sockets", PRELUDE + CHANNEL, MemorySize=128, Timeout=30)
    answer = lambda_client.invoke(FunctionName=name, Payload=b'{"run": "fill_sockets(512)"}')
    result = json.loads(answer["Payload"].read())
    assert "FunctionError" in answer or result < 200  # killed where the cap counts them in, else bounded beside it


def test_an_init_gets_one_cpu(lambda_client: Any) -> None:
    code = """
import os, time
began = time.monotonic()
for _ in range(4):
    if os.fork() == 0:
        while time.monotonic() - began < 1.5:
            pass
        os._exit(0)
for _ in range(4):
    os.wait()
times = os.times()
used = (times.children_user + times.children_system) / (time.monotonic() - began)
def lambda_handler(event, context):
    return used
"""
    name = create_function(lambda_client, "nuisance-init", code, MemorySize=128)
    assert json.loads(lambda_client.invoke(FunctionName=name)["Payload"].read()) < 1.25


def test_credentials_end_with_their_environment(run: Any, sly: str, lambda_client: Any, hanabi_server: Server) -> None:
    code = "def lambda_handler(event, context):\n    import os\n    return dict(os.environ)"
    iam = hanabi_server.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    role = iam.create_role(RoleName="nuisance-role", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.attach_role_policy(RoleName="nuisance-role", PolicyArn="arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole")
    name = create_function(lambda_client, "nuisance-credentials", code, Role=role)
    taken = json.loads(lambda_client.invoke(FunctionName=name)["Payload"].read())
    keys = {"access_key": taken["AWS_ACCESS_KEY_ID"], "secret_key": taken["AWS_SECRET_ACCESS_KEY"]}
    outside = hanabi_server.client("sts", aws_session_token=taken["AWS_SESSION_TOKEN"], **keys)
    assert outside.get_caller_identity()["Arn"].endswith("/nuisance-credentials")
    with pytest.raises(ClientError) as denied:  # its role's policies hold, wherever it comes from
        hanabi_server.client("lambda", aws_session_token=taken["AWS_SESSION_TOKEN"], **keys).list_functions()
    assert denied.value.response["Error"]["Code"] == "AccessDeniedException"
    there = (  # at the endpoint of another environment they are good for nothing
        "attempt(lambda: __import__('boto3').client('sts', aws_access_key_id=access_key, aws_secret_access_key=secret_key,"
        " aws_session_token=token).get_caller_identity())"
    )
    assert run(there, sly, token=taken["AWS_SESSION_TOKEN"], **keys)[0] != "allowed"
    lambda_client.delete_function(FunctionName=name)

    def refused() -> bool:
        try:
            outside.get_caller_identity()
        except ClientError:
            return True
        return False

    wait_for(refused)


def test_a_linked_bootstrap_tells_nothing_of_the_host(lambda_client: Any) -> None:
    said = set()
    for number, target in enumerate((str(pathlib.Path(__file__).resolve()), "/nowhere")):  # there on the host; nowhere
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            link = zipfile.ZipInfo("bootstrap")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, target)
            archive.writestr("other", "x")
        name = f"nuisance-bootstrap-{number}"
        settings = {"Runtime": "provided.al2023", "Handler": "x", "Role": ROLE}
        try:
            lambda_client.create_function(FunctionName=name, Code={"ZipFile": buffer.getvalue()}, **settings)
        except ClientError as error:  # a link that leads out of the tree may be refused at once
            said.add(error.response["Error"]["Message"])
            continue
        lambda_client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        answer = json.loads(lambda_client.invoke(FunctionName=name)["Payload"].read())
        said.add(re.sub("RequestId: [0-9a-f-]+", "", answer["errorMessage"]))
    assert len(said) == 1, said
