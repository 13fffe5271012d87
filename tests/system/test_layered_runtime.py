"""A runtime from a layer, in the shape of Bref's for PHP: /opt/bootstrap starts /opt/bin/php again and again."""

from typing import Any

import pytest

from tests.server import create_function, zip_of
from tests.system.test_runtimes import call

BOOTSTRAP = """#!/bin/sh
while true
do
    /opt/bin/php "/opt/bref/bootstrap.php" 2>&1
done
"""
# The client, with curl in the place of PHP's: two invocations, or one that failed, then it ends.
PHP = r"""#!/bin/bash
set -eu
test -f "$1"
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
echo "php starts for $_HANDLER"
for number in 1 2; do
    event=$(curl -sSf -D /tmp/head "$api/next")
    id=$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: \(.*\)\r$/\1/p' /tmp/head)
    export _X_AMZN_TRACE_ID=$(sed -n 's/^Lambda-Runtime-Trace-Id: \(.*\)\r$/\1/p' /tmp/head)
    case $event in
    *error*)
        error='{"errorType":"Exception","errorMessage":"no","stackTrace":[]}'
        curl -sSf -o /dev/null -H "Content-Type: application/json" -d "$error" "$api/$id/error"
        exit 1 ;;
    *exit*) exit 255 ;;
    esac
    answer=$(printf '{"event":%s,"handler":"%s","trace":"%s","file":"%s","pid":%s}' \
        "$event" "$_HANDLER" "$_X_AMZN_TRACE_ID" "$(cat "$LAMBDA_TASK_ROOT/$_HANDLER")" $$)
    curl -sSf -o /dev/null -H "Content-Type: application/json" -d "$answer" "$api/$id/response"
done
"""


@pytest.fixture(scope="module")
def function(lambda_client: Any) -> str:
    files: dict[str, str | bytes] = {"bootstrap": BOOTSTRAP, "bin/php": PHP, "bref/bootstrap.php": "<?php"}
    layer = lambda_client.publish_layer_version(
        LayerName="php-84", Content={"ZipFile": zip_of(files, executable=["bootstrap", "bin/php"])}, CompatibleRuntimes=["provided.al2023"]
    )
    options = {"Runtime": "provided.al2023", "Handler": "index.php", "Layers": [layer["LayerVersionArn"]], "Timeout": 3, "MemorySize": 512}
    return create_function(lambda_client, "php", {"index.php": "php code"}, **options)


def test_invocations_of_one_process_after_the_other(lambda_client: Any, function: str) -> None:
    answers = [call(lambda_client, function, {"n": number}) for number in range(5)]
    for number, (answer, _, _) in enumerate(answers):
        assert answer["event"] == {"n": number} and answer["handler"] == "index.php" and answer["file"] == "php code"
        assert answer["trace"].startswith("Root=1-") and "Lineage=" in answer["trace"]
    pids = [answer["pid"] for answer, _, _ in answers]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
    assert ["Init Duration" in log[-1] for _, _, log in answers] == [True, False, False, False, False]  # one environment


def test_an_error_ends_the_process_and_the_bootstrap_starts_another(lambda_client: Any, function: str) -> None:
    error, answer, _ = call(lambda_client, function, {"do": "error"})
    assert answer["FunctionError"] == "Unhandled" and (error["errorType"], error["errorMessage"]) == ("Exception", "no")
    answer, _, log = call(lambda_client, function, {"n": 1})
    assert answer["event"] == {"n": 1} and "Init Duration" not in log[-1]
