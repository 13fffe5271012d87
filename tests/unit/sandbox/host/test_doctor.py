"""`hanabi doctor`'s checks say what the host has, and how to fix the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.sandbox.rig import unavailable

ROOT = Path(__file__).resolve().parents[4]
CODE = """
import dataclasses, encodings.idna, json, os
from hanabi.sandbox.host.doctor import probe
{become}
print(json.dumps([dataclasses.asdict(each) for each in probe()]))
"""
NOBODY = "os.setgroups([]); os.setresgid(4242, 4242, 4242); os.setresuid(4242, 4242, 4242)"


def checks(become: str = "") -> dict[str, dict[str, str | bool | None]]:
    done = subprocess.run([sys.executable, "-c", CODE.format(become=become)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {each["name"]: each for each in json.loads(done.stdout)}


def test_every_fault_comes_with_a_fix() -> None:
    for check in checks().values():
        assert check["detail"]
        assert check["ok"] is not False or check["fix"], check


def test_the_container_is_really_tried() -> None:
    if reason := unavailable():
        pytest.skip(reason)
    found = checks()
    if found["cgroups"]["ok"] and found["oci runtime"]["ok"] and found["tmp"]["ok"]:
        assert found["container"]["ok"], found
        assert str(found["container"]["detail"]).startswith("oci (")


def test_an_ordinary_user_is_told_too() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    found = checks(NOBODY)
    assert found["cgroups"]["ok"] is False and "root" in str(found["cgroups"]["fix"])
    assert found["container"]["ok"] is False and found["container"]["fix"]
