"""Fixtures for all tests: a running Hanabi where the host allows one."""

import asyncio
import functools
import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import uvloop

from tests.server import Server

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: containers with limits, network slots and mounts")

Loops = dict[str, Callable[[], asyncio.AbstractEventLoop]]
ASYNCIO: Loops = {"asyncio": asyncio.new_event_loop}
UVLOOP: Loops = {"uvloop": uvloop.new_event_loop}  # the server's
TEST_LIMIT_S = 120.0  # for one that hangs; `@pytest.mark.limit_s(n)` sets another
_problems = pytest.StashKey[list[dict[str, Any]]]()


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """asyncio's loop, unless a mark (or the `conftest` of a directory) says otherwise."""
    if item.get_closest_marker("both_loops"):
        return ASYNCIO | UVLOOP
    return UVLOOP if item.get_closest_marker("uvloop") else ASYNCIO


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and asyncio.iscoroutinefunction(item.obj):
            item.obj = _bounded(item, item.obj)


def _bounded(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., Any]:
    """An async test that ends in time, and fails for what its tasks failed with when nobody looked at that."""
    mark = item.get_closest_marker("limit_s")
    limit_s = float(mark.args[0]) if mark else TEST_LIMIT_S

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        if not item.get_closest_marker("lost_errors"):
            problems: list[dict[str, Any]] = []
            item.stash[_problems] = problems
            asyncio.get_running_loop().set_exception_handler(functools.partial(_note, problems))
        async with asyncio.timeout(limit_s):
            await test(*args, **kwargs)

    return run


def _note(problems: list[dict[str, Any]], loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    problems.append(context)
    loop.default_exception_handler(context)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    yield
    assert item.stash.get(_problems, []) == []


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
