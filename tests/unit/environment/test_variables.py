"""The environment variables of a function, compared with what was recorded on AWS for each runtime (January 2026)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hanabi.contracts.credentials import Credentials
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.environment.variables import function_variables
from hanabi.images.runtimes.recipes import RUNTIMES

KEYS = Credentials("ASIA0", "secret", "token")
RUNTIME_API = "127.0.0.1:9001"
LIBRARIES = "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
PROGRAMS = "/usr/local/bin:/usr/bin/:/bin:/opt/bin"
EVERYWHERE = {
    "AWS_ACCESS_KEY_ID": "ASIA0",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_SESSION_TOKEN": "token",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_FUNCTION_NAME": "f",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
    "AWS_LAMBDA_RUNTIME_API": RUNTIME_API,  # 169.254.100.1:9001 there; 127.0.0.1:9001 on provided.al2
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
    "_AWS_XRAY_DAEMON_PORT": "2000",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LANG": "en_US.UTF-8",
    "LD_LIBRARY_PATH": f"/var/lang/lib:{LIBRARIES}",
    "PATH": f"/var/lang/bin:{PROGRAMS}",
    "TEST_KEY": "TEST_VAL",
    "TZ": ":UTC",
    "_HANDLER": "handler.handler",
}
BASH = {"PWD": "/var/task", "SHLVL": "0"}


def python(version: str, **more: str) -> dict[str, str]:
    return {**BASH, "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}", "PYTHONPATH": "/var/runtime", **more}


def node(major: int) -> dict[str, str]:
    layers = f"/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules"
    path = f"{layers}:/var/runtime/node_modules:/var/runtime:/var/task"
    return {**BASH, "AWS_EXECUTION_ENV": f"AWS_Lambda_nodejs{major}.x", "NODE_PATH": path}


def ruby(version: str) -> dict[str, str]:
    """RUBYLIB begins with `/var/runtime/gems/aws_lambda_ric-3.1.3/lib` there, which is not the runtime here."""
    gems = f"/var/task/vendor/bundle/ruby/{version}.0:/opt/ruby/gems/{version}.0:/var/runtime:/var/runtime/ruby/{version}.0"
    paths = {"LD_LIBRARY_PATH": f"/var/lang/lib:/var/lang/lib:{LIBRARIES}", "PATH": f"/var/lang/bin:/var/lang/bin:{PROGRAMS}"}
    own = {"GEM_HOME": "/var/runtime", "GEM_PATH": gems, "RUBYLIB": "/var/task:/var/runtime/lib:/opt/ruby/lib"}
    return {**BASH, **paths, **own, "AWS_EXECUTION_ENV": f"AWS_Lambda_ruby{version}"}


KEYS_TWICE = {"AWS_ACCESS_KEY": "ASIA0", "AWS_SECRET_KEY": "secret"}
RECORDED = {
    "python3.9": python("3.9"),
    "python3.10": python("3.10"),
    "python3.11": python("3.11"),
    "python3.12": python("3.12", LC_CTYPE="C.UTF-8"),
    "python3.13": python("3.13", LC_CTYPE="C.UTF-8"),
    "python3.14": python("3.14", LC_CTYPE="C.UTF-8"),
    "nodejs18.x": {**node(18), "NODE_EXTRA_CA_CERTS": "/var/runtime/ca-cert.pem"},
    "nodejs20.x": node(20),
    "nodejs22.x": node(22),
    "nodejs24.x": node(24),
    "ruby3.3": ruby("3.3"),
    "java8.al2": {"AWS_EXECUTION_ENV": "AWS_Lambda_java8.al2", **KEYS_TWICE},
    "java11": {"AWS_EXECUTION_ENV": "AWS_Lambda_java11", **KEYS_TWICE},
    "java17": {"AWS_EXECUTION_ENV": "AWS_Lambda_java17"},
    "java21": {"AWS_EXECUTION_ENV": "AWS_Lambda_java21"},
    "java25": {"AWS_EXECUTION_ENV": "AWS_Lambda_java25"},
    "provided.al2023": {},
    "provided.al2": {"LD_LIBRARY_PATH": LIBRARIES, "PATH": PROGRAMS},
}


def image_of(runtime: str, environment: dict[str, str] | None = None) -> RuntimeImage:
    variables = RUNTIMES[runtime].environment if environment is None else environment
    command = RUNTIMES[runtime].command if runtime in RUNTIMES else ()
    return RuntimeImage(
        runtime=runtime, digest="d", root=Path("/"), runtime_dir=None, command=command, environment=variables, version_arn=""
    )


def version_of(**changes: Any) -> FunctionVersion:
    version = FunctionVersion(
        key="k", name="f", version="$LATEST", arn="arn:aws:lambda:eu-west-1:0:function:f", account="0", region="eu-west-1",
        runtime="", handler="handler.handler", memory_mb=1024, timeout_s=3, tmp_mb=512, environment={"TEST_KEY": "TEST_VAL"},
        role="arn:aws:iam::0:role/r", code=None, log_group="/aws/lambda/f",
    )  # fmt: skip
    return replace(version, **changes)


def variables_of(image: RuntimeImage, version: FunctionVersion, **options: Any) -> dict[str, str]:
    return function_variables(
        image,
        version,
        KEYS,
        runtime_api=RUNTIME_API,
        endpoint_url="http://127.0.0.1:9002",
        task_root="/var/task",
        log_stream="stream",
        **options,
    )


@pytest.mark.parametrize("runtime", sorted(RECORDED.keys() & RUNTIMES.keys()))
def test_each_runtimes_are_those_recorded_on_aws(runtime: str) -> None:
    """The trace is not among them: it changes with each invocation, so the runtime sets it."""
    assert variables_of(image_of(runtime), version_of()) == EVERYWHERE | RECORDED[runtime]


def test_a_function_may_set_what_lambda_does_not_reserve() -> None:
    own = {"AWS_XRAY_CONTEXT_MISSING": "RUNTIME_ERROR", "TZ": "Asia/Tokyo", "AWS_REGION": "mars"}
    found = variables_of(image_of("python3.11"), version_of(environment=own))
    assert (found["AWS_XRAY_CONTEXT_MISSING"], found["TZ"], found["AWS_REGION"]) == ("RUNTIME_ERROR", "Asia/Tokyo", "eu-west-1")


def test_snap_start_has_no_keys_and_no_log() -> None:
    found = variables_of(image_of("python3.13"), version_of(), token="t")
    assert found["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
    assert found["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith(f"http://{RUNTIME_API}/")
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME"} & found.keys()
    found = variables_of(image_of("python3.13"), version_of(), provisioned=True)
    assert found["AWS_LAMBDA_INITIALIZATION_TYPE"] == "provisioned-concurrency"
