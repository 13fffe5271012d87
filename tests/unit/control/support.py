"""The control plane with doubles for the code store and the images."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hanabi.base.health import Health
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.store import Store
from hanabi.control.all_planes import AllPlanes
from hanabi.control.arns import AccountRegion
from hanabi.control.attachments import NOTHING, Attachments
from hanabi.control.dependencies import CodeObjects, LayerSource
from hanabi.control.environment_cipher import EnvironmentCipher
from hanabi.control.layers.foreign_layers import ForeignLayers
from hanabi.control.migrations import FORMATS
from hanabi.control.model import Code, Function
from hanabi.control.plane import ControlPlane, open_control_plane
from hanabi.control.planes import ControlPlanes, open_control_planes
from hanabi.control.record_names import RecordNames
from hanabi.errors import CodeError, ImageError, InvalidParameterValue
from hanabi.store.scoped import ScopedStore
from hanabi.store.sqlite import SqliteStore
from hanabi.testing import ManualClock
from hanabi.testing.store import MemoryStore

ACCOUNT, REGION = "000000000000", "us-east-1"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/test"


@dataclass(frozen=True)
class Stored:
    sha256: str
    size: int


class Codes:
    """Any bytes are code, but `bad`. `lost` is what cannot be found again."""

    def __init__(self) -> None:
        self.lost: dict[str, CodeError] = {}
        self.sizes: dict[str, int] = {}  # unpacked, of those larger than their zip
        self.asked = 0

    async def find(self, hashes: Set[str]) -> dict[str, CodeError]:
        self.asked += 1
        return {sha256: self.lost[sha256] for sha256 in hashes & self.lost.keys()}

    def place(self, sha256: str) -> Path:
        return Path("/code") / base64.b64decode(sha256).hex() / "task"

    async def measure(self, sha256: str) -> int:
        return self.sizes.get(sha256, 4)

    async def store(self, blob: bytes | Path) -> Stored:
        data = blob if isinstance(blob, bytes) else await asyncio.to_thread(blob.read_bytes)
        if data == b"bad":
            raise InvalidParameterValue("Could not unzip uploaded file. Please check your file, then try to upload again.")
        stored = Stored(base64.b64encode(hashlib.sha256(data).digest()).decode(), len(data))
        self.lost.pop(stored.sha256, None)
        return stored


def place_of(code: Code) -> Path:
    return Codes().place(code.sha256)


BROKEN = "ruby3.3"  # a runtime whose root cannot be made


class FakeLayerSets:
    """Sets that are there at once. `fault` is what merging one ends with."""

    def __init__(self) -> None:
        self.merged: list[tuple[str, ...]] = []
        self.fault: CodeError | None = None

    def place(self, hashes: Sequence[str]) -> Path:
        return Path("/layers") / "-".join(base64.b64decode(each).hex()[:8] for each in hashes)

    async def ensure(self, hashes: Sequence[str]) -> Path:
        if self.fault:
            raise self.fault
        self.merged.append(tuple(hashes))
        return self.place(hashes)


class FakeImages:
    """Runtimes are there at once, unless `hold` is called; `BROKEN` is never."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.asked: list[str] = []
        self.says: list[str] = []
        self.lacks: dict[str, str] = {}
        self.pending: dict[str, str] = {}

    def hold(self) -> None:
        self.go.clear()

    def release(self) -> None:
        self.go.set()

    async def why_unavailable(self, runtime: str) -> str:
        return self.lacks.get(runtime, "")

    async def why_pending(self, runtime: str) -> str:
        return self.pending.get(runtime, "")

    async def prepare_code(self, directory: Path) -> None: ...

    async def ensure(self, runtime: str, progress: Callable[[str], None]) -> RuntimeImage:
        self.asked.append(runtime)
        for line in self.says:
            progress(line)
        await self.go.wait()
        if runtime == BROKEN:
            raise ImageError("there is no such root; get it elsewhere")
        return RuntimeImage(
            runtime=runtime,
            digest="d",
            root=Path("/root"),
            runtime_dir=Path("/runtime"),
            command=("run",),
            environment={},
            version_arn=f"arn:aws:lambda:{REGION}::runtime:{runtime}",
        )


@dataclass(frozen=True)
class Pinned:
    image: str
    digest: str


class FakeContainers:
    """A tag is what `tags` says, else made up; `refuse` and `broken` are what asking and pulling end with."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.refuse: ImageError | None = None
        self.broken: ImageError | None = None
        self.pulled: list[str] = []
        self.lost: set[str] = set()

    async def resolve(self, uri: str) -> Pinned:
        if self.refuse:
            raise self.refuse
        digest = self.tags.get(uri) or hashlib.sha256(uri.encode()).hexdigest()
        return Pinned(f"{uri.rpartition(':')[0]}@sha256:{digest}", digest)

    async def find_missing(self, images: Set[str]) -> set[str]:
        return set(images & self.lost)

    async def ensure(self, image: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
        self.pulled.append(image)
        if self.broken:
            raise self.broken
        self.lost.discard(image)
        return RuntimeImage(
            runtime="image", digest=image[-64:], root=Path("/root"), runtime_dir=None, command=(), environment={}, version_arn=""
        )


class FakeSnapshots:
    """Makes names of snapshots, unless `hold` is called; `fault` is what taking one ends with, `missing` why there are none."""

    def __init__(self, missing: str = "") -> None:
        self.directory = Path("/snapshots")
        self.missing = missing
        self.fault: Exception | None = None
        self.taken: list[FunctionVersion] = []
        self.lost: set[str] = set()
        self.go = asyncio.Event()
        self.go.set()

    async def find_missing(self, names: Set[str]) -> set[str]:
        return set(names & self.lost)

    async def take(self, version: FunctionVersion) -> str:
        self.taken.append(version)
        self.lost.clear()
        await self.go.wait()
        if self.fault:
            raise self.fault
        return f"snapshot-{len(self.taken)}"


class Plane:
    """An open control plane, and what it told."""

    def __init__(
        self,
        control: ControlPlane,
        images: FakeImages,
        clock: ManualClock,
        containers: FakeContainers,
        codes: Codes,
        layer_sets: FakeLayerSets,
        store: SqliteStore,
        health: Health,
    ) -> None:
        self.store = store
        self.control = control
        self.functions = control.functions
        self.layers = control.layers
        self.deployment = control.deployment
        self.preparation = control.preparation
        self.catalog = control.catalog
        self.provisioned = control.provisioned
        self.urls = control.urls
        self.presence = control.presence
        self.references = control.references
        self.wait_idle = control.wait_idle
        self.codes = codes
        self.layer_sets = layer_sets
        self.health = health
        self.images = images
        self.containers = containers
        self.clock = clock
        self.retired: list[str] = []
        control.catalog.on_retired(self.retired.append)

    async def create(self, name: str = "f", **changes: Any) -> Function:
        """A function that is active."""
        await self.deployment.create(name, create_params(name, **changes))
        return await self.settle(name)

    async def settle(self, name: str = "f") -> Function:
        """The function when it is prepared."""
        async with asyncio.timeout(10):
            await self.wait_idle()
        return self.functions.find(name)


PLANE_FORMATS = {prefix.removeprefix("*/*/"): format for prefix, format in FORMATS.items()}  # as a plane's part of the store has them


def image_params(name: str = "f", uri: str = "r.example/app:1", **changes: Any) -> dict[str, Any]:
    return {"FunctionName": name, "PackageType": "Image", "Role": ROLE, "Code": {"ImageUri": uri}} | changes


def create_params(name: str = "f", code: bytes = b"code", **changes: Any) -> dict[str, Any]:
    params = {"FunctionName": name, "Runtime": "python3.11", "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": code}}
    return params | changes


@asynccontextmanager
async def open_plane(
    directory: Path,
    images: FakeImages | None = None,
    snapshots: FakeSnapshots | None = None,
    codes: Codes | None = None,
    layer_source: LayerSource | None = None,
    updates_shown_s: float = 0.0,
    objects: CodeObjects | None = None,
    cipher: EnvironmentCipher | None = None,
    attachments: Attachments = NOTHING,
) -> AsyncIterator[Plane]:
    """On a real store in `directory`: opened again, it holds what it held."""
    store, clock, images = SqliteStore(directory / "state.db", PLANE_FORMATS), ManualClock(), images or FakeImages()
    await store.open()
    containers, codes, health = FakeContainers(), codes or Codes(), Health(clock)
    layer_sets = FakeLayerSets()
    try:
        async with open_control_plane(
            store,
            codes,
            layer_sets,
            images,
            clock,
            AccountRegion(ACCOUNT, REGION),
            url_for=lambda url_id: f"http://{url_id}.lambda-url.localhost:9555/",
            layer_source=layer_source,
            objects=objects,
            cipher=cipher,
            attachments=attachments,
            containers=containers,
            snapshots=snapshots,
            health=health,
            updates_shown_s=updates_shown_s,
        ) as control:
            yield Plane(control, images, clock, containers, codes, layer_sets, store, health)
    finally:
        await store.close()


@dataclass
class Planes:
    """The planes of a node, on one store."""

    planes: ControlPlanes
    store: Store
    codes: Codes
    clock: ManualClock
    health: Health

    async def create(self, account: str, region: str, name: str = "f", **changes: Any) -> Function:
        """A function that is active."""
        plane = await self.planes.get(AccountRegion(account, region))
        await plane.deployment.create(name, create_params(name, Role=f"arn:aws:iam::{account}:role/r", **changes))
        async with asyncio.timeout(10):
            await plane.wait_idle()
        return plane.functions.find(name)


@asynccontextmanager
async def open_planes(store: Store | None = None, clock: ManualClock | None = None) -> AsyncIterator[Planes]:
    """On a store in memory unless one is given."""
    store, clock, codes = store or MemoryStore(), clock or ManualClock(), Codes()
    home, health = AccountRegion(ACCOUNT, REGION), Health(clock)
    names = RecordNames(home)

    opened: list[AllPlanes] = []
    foreign = ForeignLayers(None, codes, clock, lambda name: opened[0].find_layer(name))

    def open_one(at: AccountRegion) -> AbstractAsyncContextManager[ControlPlane]:
        return open_control_plane(
            ScopedStore(store, at.prefix),
            codes,
            FakeLayerSets(),
            FakeImages(),
            clock,
            at,
            url_for=lambda url_id: f"http://{url_id}/",
            scope=names.scope(at),
            foreign_layers=foreign,
            health=health.within(names.scope(at)),
        )

    async with open_control_planes(store, home, open_one, clock) as planes:
        opened.append(AllPlanes(planes))
        yield Planes(planes, store, codes, clock, health)
