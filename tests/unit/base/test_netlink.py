"""The rtnetlink client, in a network namespace of a thread. What sandboxes get of it: `tests/system/sandbox/test_network.py`."""

import os
import shutil
import subprocess

import pytest

from hanabi.base import linux
from hanabi.base.netlink import Netlink
from hanabi.base.threads import in_new_thread


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and the program ip")
def test_loopback_acknowledges_at_once() -> None:
    def routes() -> str:
        linux.unshare(linux.CLONE_NEWNET)
        with Netlink() as link:
            link.raise_link("lo")
            link.acknowledge_at_once()
            link.acknowledge_at_once()  # once more is no error
        return subprocess.run(["ip", "route", "show", "table", "local"], capture_output=True, text=True, check=True).stdout

    found = [line.strip() for line in in_new_thread(routes).splitlines() if line.startswith("local 127.0.0.1 ")]
    assert found == ["local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 quickack 1"]
