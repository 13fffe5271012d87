"""A Java virtual machine on a real microVM, and its SnapStart snapshot: what was initialised is there in each clone."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.microvm import rig
from tests.microvm.test_life import _patient, create_function_slowly, invoke, kill_machines, messages, settle
from tests.server import Server

reason = rig.why_not(build=rig.building())
pytestmark = [
    pytest.mark.skipif(bool(reason), reason=f"no real microVMs: {reason}"),
    pytest.mark.skipif(not rig.thorough(), reason="takes minutes where KVM is nested in software: make test-microvm"),
    pytest.mark.skipif(shutil.which("javac") is None, reason="needs javac: the function is compiled by the test"),
]
SOURCE = """
package app;

public class Main {
    static final String INIT = java.util.UUID.randomUUID().toString();

    public java.util.Map<String, Object> handle(java.util.Map<String, Object> event) {
        java.util.Map<String, Object> answer = new java.util.HashMap<>();
        answer.put("init", INIT);
        answer.put("new", new java.security.SecureRandom().nextLong());
        answer.put("kind", System.getenv("AWS_LAMBDA_INITIALIZATION_TYPE"));
        return answer;
    }
}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*rig.options(), "--pool-size", "0", "--hibernate-after-s", "3600") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda", config=_patient())


def test_clones_have_what_was_initialised(server: Server, client: Any, tmp_path: Path) -> None:
    (tmp_path / "Main.java").write_text(SOURCE)
    subprocess.run(["javac", "--release", "17", "-d", tmp_path, tmp_path / "Main.java"], check=True, timeout=120)
    code: dict[str, str | bytes] = {"app/Main.class": (tmp_path / "app/Main.class").read_bytes()}
    options = {"Runtime": "java21", "Handler": "app.Main::handle", "MemorySize": 1769, "SnapStart": {"ApplyOn": "PublishedVersions"}}
    create_function_slowly(client, "java", code, **options)
    client.publish_version(FunctionName="java")
    now = settle(client, "java", "1")
    assert (now["State"], now["SnapStart"]["OptimizationStatus"]) == ("Active", "On"), now
    first = invoke(client, "java", Qualifier="1")
    assert first["kind"] == "snap-start"
    kill_machines(server, function="java", version="1")
    second = invoke(client, "java", Qualifier="1")
    assert second["init"] == first["init"] and second["new"] != first["new"]
    said = messages(server, "java")
    assert any(line.startswith("RESTORE_START Runtime Version: java:21") for line in said), said
