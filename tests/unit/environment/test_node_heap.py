"""The heap of Node.js has the size of the function's memory, in the pool too."""

import asyncio
from dataclasses import replace

from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.environment.node_heap import for_memory, for_version
from hanabi.fleet import pool
from tests.unit.fleet.rig import IMAGE, Rig
from tests.waiting import until

NODE = replace(IMAGE, runtime="nodejs22.x", digest="n", command=("node", "bootstrap.mjs"), heap_sized=True)


def flags(memory_mb: int, options: str = "") -> tuple[str, ...]:
    return for_memory(NODE, memory_mb, {"NODE_OPTIONS": options}).command


def test_as_awss_bootstrap_does_it() -> None:
    rest = ("--max-http-header-size=81920", "bootstrap.mjs")
    assert flags(128) == ("node", "--expose-gc", "--max-semi-space-size=6", "--max-old-space-size=116", *rest)
    assert flags(8192) == ("node", "--expose-gc", "--max-semi-space-size=409", "--max-old-space-size=7373", *rest)
    assert for_memory(IMAGE, 128) is IMAGE


def test_the_functions_own_options_win() -> None:
    for option in ("--max-old-space-size=50", "--max_old_space_size=50"):
        assert flags(128, option) == ("node", "--expose-gc", "--max-semi-space-size=6", "--max-http-header-size=81920", "bootstrap.mjs")


async def test_a_pooled_one_serves_functions_of_its_size() -> None:
    async with Rig(pool_size=1) as rig:

        async def image_of(version: FunctionVersion) -> RuntimeImage:
            return for_version(NODE, version)

        rig.starter._ensure_image = image_of
        rig.fleet.keep_pool_for(for_memory(NODE, 128))
        for memory_mb in (128, 512, 128, 512):
            await until(lambda: len(rig.environments.pool))
            result = await rig.invoke(rig.version(f"f{memory_mb}-{len(rig.driver.sandboxes)}", memory_mb=memory_mb))
            used = next(each for each in rig.driver.sandboxes if each.id == result.record.environment)
            assert f"--max-old-space-size={memory_mb - memory_mb // 10}" in used.processes["runtime"].argv


async def test_not_every_size_has_a_pool() -> None:
    async with Rig(pool_size=1) as rig:
        for memory_mb in range(128, 178):
            rig.fleet.keep_pool_for(for_memory(NODE, memory_mb))
        await until(lambda: len(rig.environments.pool) == pool.SIZES_MAX)
        await asyncio.sleep(0)
        assert len(rig.driver.sandboxes) == pool.SIZES_MAX
