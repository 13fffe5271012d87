"""The stores of code, merged layers, runtime roots and container images, and the collector of unused ones."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.control.all_planes import AllPlanes
from hanabi.fleet.fleet import Fleet
from hanabi.fleet.snapshots import Snapshots
from hanabi.images.code.code_store import CodeStore
from hanabi.images.code.s3_credentials import ANY_CREDENTIALS, read_credentials
from hanabi.images.code.s3_objects import S3Objects
from hanabi.images.collector import Collector
from hanabi.images.containers.container_images import ContainerImages
from hanabi.images.identity import Identity, identify
from hanabi.images.layers.layer_sets import LayerSets
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.node.config import NodeSettings, guest_dir
from hanabi.store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class Artifacts:
    code: CodeStore
    layer_sets: LayerSets
    runtimes: RuntimeImages
    containers: ContainerImages
    identity: Identity  # of the data directory: whether its code is that which its documents name


@asynccontextmanager
async def open_artifacts(settings: NodeSettings, store: SqliteStore, clock: Clock) -> AsyncIterator[Artifacts]:
    async with AsyncExitStack() as stack:
        runtimes = RuntimeImages(settings.images_dir, guest_dir(), settings.runtime_sources, clock)
        stack.push_async_callback(runtimes.close)
        code = CodeStore(settings.directory("code"), clock)
        await code.open()
        layer_sets = LayerSets(settings.directory("layers"), code.place, clock)
        await layer_sets.open()
        stack.push_async_callback(layer_sets.close)
        identity = await identify(store, settings.data_dir, keeps=not code.is_empty)
        containers = ContainerImages(settings.images_dir, identity.owner, settings.insecure_registry, clock)
        await containers.open()
        stack.push_async_callback(containers.close)
        yield Artifacts(code, layer_sets, runtimes, containers, identity)


@asynccontextmanager
async def open_s3(settings: NodeSettings, scratch: Path) -> AsyncIterator[S3Objects | None]:
    """Open the S3 that code may be in, if there is one."""
    if not settings.s3_endpoint:
        yield None
        return
    credentials = read_credentials(settings.s3_credentials, os.environ) or (ANY_CREDENTIALS if settings.auth == "none" else None)
    objects = S3Objects(settings.s3_endpoint, credentials, settings.region, scratch)
    try:
        yield objects
    finally:
        await objects.close()


def make_collector(
    artifacts: Artifacts, store: SqliteStore, references: AllPlanes, snapshots: Snapshots, fleet: Fleet, clock: Clock, health: Health
) -> Collector:
    """Make the collector. In use is what a function refers to or an environment runs. In doubt, nothing is collected."""
    collector = Collector(clock, health, lambda: artifacts.identity.why_incomplete or store.why_incomplete or references.why_incomplete)
    collector.add(snapshots.collect, references.snapshots)
    collector.add(artifacts.code.collect, lambda: references.code() | fleet.code_in_use())
    collector.add(artifacts.layer_sets.collect, lambda: references.layer_sets() | fleet.code_in_use())
    collector.add(artifacts.containers.collect, lambda: references.images() | fleet.images_in_use())
    return collector
