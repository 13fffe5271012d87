"""Fixtures for all tests: a running Hanabi where the host allows one."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server import Server

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts")


@pytest.fixture(scope="session")
def hanabi_server() -> Iterator[Server]:
    """One server for the whole session; tests name their functions differently."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the server makes containers with cgroups, network slots and mounts")
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def lambda_client(hanabi_server: Server) -> Any:
    return hanabi_server.client("lambda")
