"""What a function sees of its environment in a real container, compared with what was recorded on AWS, and its wrapper script."""

import re
import stat
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.server import ROLE, create_function, zip_of
from tests.system.test_runtimes import call
from tests.unit.environment.test_variables import EVERYWHERE, RECORDED

PYTHON = """
    import os, pwd, resource, subprocess, sys

    at_init = dict(os.environ)

    def handler(event, context):
        user = pwd.getpwuid(os.getuid()).pw_name
        found = {
            "environment": dict(os.environ), "at_init": at_init, "argv": sys.argv, "cwd": os.getcwd(),
            "user": [os.getuid(), os.getgid(), user, subprocess.getoutput("whoami")],
            "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")},
            "modes": {path: os.stat(path).st_mode for path in ("/var/task", "/opt", "/tmp")},
            "owners": {path: [os.stat(path).st_uid, os.stat(path).st_gid] for path in event["paths"]},
            "entrypoint": os.stat("/lambda-entrypoint.sh").st_mode,
        }
        return found
"""
NODE = """
    const at_init = { ...process.env };
    exports.handler = async () => {
      const sdk = require("node:child_process").execFileSync(process.execPath, ["-p", "require.resolve('@aws-sdk/client-lambda')"]);
      return { environment: { ...process.env }, at_init, argv: process.argv, cwd: process.cwd(), sdk: sdk.toString() };
    };
"""
ROOTS = ["/", "/usr/bin", "/var/runtime/bootstrap.py", "/var/task", "/var/task/app.py", "/opt", "/tmp", "/lambda-entrypoint.sh"]
LIMITS = {
    "RLIMIT_AS": [-1, -1],
    "RLIMIT_CPU": [-1, -1],
    "RLIMIT_DATA": [-1, -1],
    "RLIMIT_FSIZE": [-1, -1],
    "RLIMIT_MEMLOCK": [65536, 65536],
    "RLIMIT_NOFILE": [1024, 1024],
    "RLIMIT_NPROC": [1024, 1024],
    "RLIMIT_RSS": [-1, -1],
    "RLIMIT_STACK": [8388608, -1],
}


def introspect(client: Any, runtime: str) -> dict[str, Any]:
    file, source, handler = ("app.py", PYTHON, "app.handler") if runtime.startswith("python") else ("index.js", NODE, "index.handler")
    settings = {"Runtime": runtime, "MemorySize": 1024, "Environment": {"Variables": {"TEST_KEY": "TEST_VAL"}}, "Handler": handler}
    name = f"introspect-{runtime.replace('.', '')}"
    found: dict[str, Any] = call(client, create_function(client, name, {file: textwrap.dedent(source)}, **settings), {"paths": ROOTS})[0]
    own = {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}", "_HANDLER": handler}
    region = {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    found["recorded"] = EVERYWHERE | RECORDED[runtime] | own | region
    return found


def without_own(environment: dict[str, str], recorded: dict[str, str]) -> dict[str, str]:
    """Variables without those of Hanabi's own services, and with the recorded value of what is new in each environment."""
    new = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME"}
    kept = {name: value for name, value in environment.items() if not name.startswith("AWS_ENDPOINT_URL_")}
    return kept | {name: recorded[name] for name in new & kept.keys()}


@pytest.mark.parametrize("runtime", ["python3.11", "python3.13", "nodejs22.x"])
def test_a_function_sees_what_it_sees_on_aws(lambda_client: Any, runtime: str) -> None:
    found = introspect(lambda_client, runtime)
    recorded = found["recorded"]
    assert without_own(found["at_init"], recorded) == recorded  # the trace is an invocation's
    inside = without_own(found["environment"], recorded)
    assert inside.pop("_X_AMZN_TRACE_ID").startswith("Root=1-") and inside == recorded
    assert found["cwd"] == "/var/task"
    if not runtime.startswith("python"):
        assert found["argv"][0] == "/var/lang/bin/node" and found["sdk"].startswith("/var/lang/lib/node_modules/@aws-sdk/")
        return
    assert found["argv"] == ["/var/runtime/bootstrap.py"] and found["user"] == [993, 990, "sbx_user1051", "sbx_user1051"]
    assert {name: found["limits"][name] for name in LIMITS} == LIMITS
    handled = Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "@"))  # by a program of the host's: then none is made
    assert found["limits"]["RLIMIT_CORE"] == ([1, 1] if handled else [10737418240, 10737418240])
    assert all(stat.S_IMODE(found["modes"][path]) == 0o755 for path in ("/var/task", "/opt"))
    assert stat.S_IMODE(found["modes"]["/tmp"]) == 0o1777 and stat.S_IMODE(found["entrypoint"]) == 0o755
    assert set(map(tuple, found["owners"].values())) == {(0, 0)}


@pytest.mark.parametrize("own_start", [False, True])
def test_a_small_function_has_fewer_processes(lambda_client: Any, own_start: bool) -> None:
    """As recorded on AWS at 128 MB, in a pooled environment and in one that was started for the function."""
    code = "import resource\ndef lambda_handler(event, context):\n    return resource.getrlimit(resource.RLIMIT_NPROC)\n"
    variables = {"Variables": {"PYTHONHASHSEED": "0"} if own_start else {}}
    name = create_function(lambda_client, f"introspect-small-{own_start}", code, MemorySize=128, Environment=variables)
    assert call(lambda_client, name, {})[0] == [742, 742]


ECHO = {
    "python3.11": ("app.py", "import os, sys\ndef handler(event, context):\n    return [dict(os.environ), sys.argv]\n"),
    "nodejs22.x": ("app.js", "exports.handler = async () => [process.env, process.argv];\n"),
}
WRAPPER = '#!/bin/bash\necho "wraps $# words: $1"\nexport WRAPPER_VAR=value\nexec "$@"\n'


def wrap(client: Any, runtime: str, path: str, files: dict[str, str | bytes], executable: list[str]) -> str:
    name = f"wrap-{runtime.partition('.')[0]}-{path.rpartition('/')[2].partition('.')[0]}"
    file, source = ECHO.get(runtime, ("bootstrap", ""))
    settings = {"Runtime": runtime, "Handler": "app.handler", "MemorySize": 512, "Role": ROLE}
    variables = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": path}}
    code = {"ZipFile": zip_of({file: source, **files}, executable=executable)}
    client.create_function(FunctionName=name, Code=code, Environment=variables, **settings)
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    return name


@pytest.mark.parametrize("runtime", sorted(ECHO))
def test_a_wrapper_of_bash(lambda_client: Any, runtime: str) -> None:
    """AWS's own example. bash counts its own level, and takes it back when it replaces itself."""
    name = wrap(lambda_client, runtime, "/var/task/wrapper", {"wrapper": WRAPPER}, ["wrapper"])
    (environment, argv), _, log = call(lambda_client, name, {})
    assert [environment[each] for each in ("WRAPPER_VAR", "PWD", "SHLVL")] == ["value", "/var/task", "0"]
    assert "OLDPWD" not in environment and re.match(r"wraps \d+ words: /var/lang/bin/", log[0]), log
    assert argv[-1].startswith("/var/runtime/bootstrap")


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [("/idontexist.sh", "/idontexist.sh: does not exist", 127), ("/var/task/plain", "/var/task/plain: is not an executable", 126)],
)
def test_a_wrapper_that_cannot_be_run(lambda_client: Any, path: str, said: str, status: int) -> None:
    """As recorded on AWS: an exit of the runtime, not an entry point that is refused."""
    name = wrap(lambda_client, "python3.11", path, {"plain": WRAPPER}, [])
    error, answer, log = call(lambda_client, name, {})
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert error == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: exit status {status}",
    }
    assert said in log
