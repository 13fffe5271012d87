"""Layers on real microVMs: a drive of the set, in a clone, in a SnapStart snapshot, and after hibernation."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.microvm import rig
from tests.microvm.test_life import _patient, create_function_slowly, invoke, rows, settle
from tests.server import Server, zip_of
from tests.waiting import wait_for

reason = rig.why_not(build=rig.building())
pytestmark = [
    pytest.mark.skipif(bool(reason), reason=f"no real microVMs: {reason}"),
    pytest.mark.skipif(not rig.thorough(), reason="takes minutes where KVM is nested in software: make test-microvm"),
]

CODE = """
import os, subprocess
from first import VALUE as first
from both import VALUE as both

SEEN = []

def lambda_handler(event, context):
    SEEN.append(1)
    import late
    writable = os.access("/opt", os.W_OK)
    tool = subprocess.run(["tool"], capture_output=True, text=True).stdout
    return {"values": [first, both, late.VALUE, tool, open("/opt/text").read()], "link": os.readlink("/opt/link"), "writable": writable,
            "seen": len(SEEN)}
"""
FOUND = {"values": ["first", "second", "late", "tool", "text"], "link": "text", "writable": False}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(*rig.options(), "--pool-size", "1", "--hibernate-after-s", "2") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.client("lambda", config=_patient())


@pytest.fixture(scope="module")
def layers(client: Any) -> list[str]:
    contents = (
        zip_of(
            {"python/first.py": "VALUE = 'first'", "python/both.py": "VALUE = 'first'", "bin/tool": "#!/bin/sh\nprintf tool"},
            executable=["bin/tool"],
        ),
        zip_of({"python/both.py": "VALUE = 'second'", "python/late.py": "VALUE = 'late'", "text": "text", "link": "text"}, links=["link"]),
    )
    names = ("microvm-first", "microvm-second")
    return [
        client.publish_layer_version(LayerName=name, Content={"ZipFile": content})["LayerVersionArn"]
        for name, content in zip(names, contents, strict=True)
    ]


def test_in_a_clone_and_after_hibernation(server: Server, client: Any, layers: list[str]) -> None:
    create_function_slowly(client, "layered", CODE, Layers=layers)
    assert invoke(client, "layered") == {**FOUND, "seen": 1}
    wait_for(lambda: rows(server, function="layered", state="hibernated"), rig.SLOW_S)
    assert invoke(client, "layered") == {**FOUND, "seen": 2}


def test_in_a_snapshot(server: Server, client: Any, layers: list[str]) -> None:
    create_function_slowly(client, "snapped", CODE, Layers=layers, SnapStart={"ApplyOn": "PublishedVersions"})
    client.publish_version(FunctionName="snapped")
    now = settle(client, "snapped", "1")
    assert (now["State"], now["SnapStart"]["OptimizationStatus"]) == ("Active", "On"), now
    assert invoke(client, "snapped", Qualifier="1") == {**FOUND, "seen": 1}
