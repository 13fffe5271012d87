"""Layers: what they add to a cold start from the pool, and what merging them takes, once for each list of layers."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.cold import cold_starts
from hanabi.images.code.code_store import CodeStore
from hanabi.images.layers.layer_sets import LayerSets
from tests.server import Server, zip_of

LAYERS = 5
FILES = 200  # of each


def contents() -> list[bytes]:
    return [zip_of({f"python/package{layer}/module{number}.py": "VALUE = 1\n" for number in range(FILES)}) for layer in range(LAYERS)]


async def measure(server: Server, scale: float) -> dict[str, Any]:
    count = max(5, int(20 * scale))
    client = server.client("lambda")
    arns = [
        client.publish_layer_version(LayerName=f"bench-{number}", Content={"ZipFile": content})["LayerVersionArn"]
        for number, content in enumerate(contents())
    ]
    plain = await cold_starts(server, "bench-layers-none", {}, count)
    layered = await cold_starts(server, "bench-layers-all", {}, count, Layers=arns)
    return {
        f"cold start, pool hit, {LAYERS} layers p50 ms": layered[len(layered) // 2],
        f"layer mount, {LAYERS} layers, p50 ms more than without": layered[len(layered) // 2] - plain[len(plain) // 2],
        f"merge of {LAYERS} layers of {FILES} files, once, ms": await merge_ms(),
    }


async def merge_ms() -> float:
    """The median of three merges of the same layers in different orders."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        code = CodeStore(Path(scratch) / "code")
        await code.open()
        sets = LayerSets(Path(scratch) / "layers", code.place)
        await sets.open()
        hashes = [(await code.store(content)).sha256 for content in contents()]
        times = []
        for turn in range(3):
            began = time.perf_counter()
            await sets.ensure(hashes[turn:] + hashes[:turn])
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)
