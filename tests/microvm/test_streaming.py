"""Answers in pieces and the Telemetry API on real microVMs: both pass the machine's vsock."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hanabi.sandbox.host import kvm
from tests.microvm import rig
from tests.microvm.test_life import _patient, create_function_slowly, invoke
from tests.server import Server, zip_of
from tests.system.test_streaming import NODE, PYTHON, stream
from tests.system.test_telemetry import CODE, COLLECTOR
from tests.unit.runtime.telemetry.schema import check
from tests.waiting import wait_for

reason = rig.why_not(build=rig.building())
pytestmark = [
    pytest.mark.skipif(bool(reason), reason=f"no real microVMs: {reason}"),
    pytest.mark.skipif(not rig.thorough(), reason="takes minutes where KVM is nested in software: make test-microvm"),
]
MIB = 1 << 20
MANY = 8 if kvm.is_hardware() else 1  # an emulated processor copies some 20 KB/s beside other work


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*rig.options(), "--pool-size", "1", "--hibernate-after-s", "3600") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda", config=_patient())


@pytest.mark.parametrize("runtime", ["python3.13", "nodejs22.x"])
def test_an_answer_in_pieces(client: Any, runtime: str) -> None:
    name, files, handler = f"streams-{runtime[:4]}", {"app.py": PYTHON}, "app.handler"
    if runtime.startswith("nodejs"):
        files, handler = {"index.js": NODE}, "index.handler"
    create_function_slowly(client, name, dict(files), Runtime=runtime, Handler=handler)
    chunks, complete = stream(client, name, ms=2000)
    assert [chunks[0], chunks[-1]] == [b"one", b"two"] and "ErrorCode" not in complete
    assert "written" in complete["LogResult"]
    chunks, complete = stream(client, name, mib=MANY, ms=0)
    body = b"".join(chunks)
    assert "ErrorCode" not in complete and len(body) == MANY * MIB + 6 and all(body[3 + n * MIB] == n for n in range(MANY))
    chunks, complete = stream(client, name, late=True)
    assert chunks == [b"one"] and complete["ErrorCode"] == "Unhandled"
    chunks, complete = stream(client, name, ms=0)  # the machine goes on
    assert b"".join(chunks) == b"onetwo"


def test_an_extension_is_told_what_happens(client: Any) -> None:
    content = zip_of({"extensions/collector": COLLECTOR}, executable=["extensions/collector"])
    arn = client.publish_layer_version(LayerName="collector", Content={"ZipFile": content})["LayerVersionArn"]
    create_function_slowly(client, "telemetry", CODE, Layers=[arn])

    def told() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = invoke(client, "telemetry")
        return events if any(event["type"] == "platform.report" for event in events) else []

    events = wait_for(told, rig.SLOW_S)
    for event in events:
        check(event, "2025-01-29")
    kinds = {event["type"].removeprefix("platform.") for event in events}
    assert {"initStart", "telemetrySubscription", "extension", "initRuntimeDone", "start", "runtimeDone", "report"} <= kinds, kinds
    printed = [event["record"] for event in events if event["type"] == "extension"]
    assert json.dumps("OK") in printed[0]
