"""What programs size themselves after, as they ask for it: CPUs and memory are the function's, not the host's."""

import json
import os
from typing import Any

import pytest

from hanabi.sandbox.oci.machine_view import vcpus_for
from tests.server import create_function

pytestmark = pytest.mark.usefixtures("hanabi_server")

PYTHON = """
import os

def lambda_handler(event, context):
    memory = dict(line.split(":", 1) for line in open("/proc/meminfo"))
    return {
        "cpus": [os.cpu_count(), len(os.sched_getaffinity(0)), open("/proc/cpuinfo").read().count("processor\\t:")],
        "memory_mb": int(memory["MemTotal"].split()[0]) / 1024,
        "free_mb": int(memory["MemAvailable"].split()[0]) / 1024,
        "load": float(open("/proc/loadavg").read().split()[0]),
    }
"""
NODE = """
const os = require("os");
exports.handler = async () => ({
    cpus: [os.cpus().length, os.availableParallelism(), os.cpus().filter(each => each.model).length],
    memory_mb: os.totalmem() / 1048576, free_mb: os.freemem() / 1048576, load: os.loadavg()[0],
});
"""
LANGUAGES: dict[str, dict[str, Any]] = {
    "python": {"code": PYTHON},
    "node": {"code": {"index.js": NODE}, "Runtime": "nodejs22.x", "Handler": "index.handler"},
}


@pytest.mark.parametrize("variables", [{}, {"PYTHONDONTWRITEBYTECODE": "1", "NODE_OPTIONS": "--no-warnings"}], ids=["pool", "own start"])
@pytest.mark.parametrize("memory_mb", [256, 4096])
@pytest.mark.parametrize("language", LANGUAGES)
def test_cpus_and_memory_are_the_functions(lambda_client: Any, language: str, memory_mb: int, variables: dict[str, str]) -> None:
    name = f"sizes-{language}-{memory_mb}-{len(variables)}"
    create_function(lambda_client, name, **LANGUAGES[language], MemorySize=memory_mb, Environment={"Variables": variables})
    seen = json.loads(lambda_client.invoke(FunctionName=name)["Payload"].read())
    assert seen["cpus"] == [min(vcpus_for(memory_mb), len(os.sched_getaffinity(0)))] * 3
    assert seen["memory_mb"] == memory_mb
    assert memory_mb / 2 < seen["free_mb"] < memory_mb
    assert seen["load"] == 0
    lambda_client.delete_function(FunctionName=name)
