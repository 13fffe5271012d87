"""The layers of one account in one region, over the registry: published, listed, deleted."""

import asyncio
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion
from hanabi.control.code_sources import CodeSources
from hanabi.control.dependencies import CodeStore
from hanabi.control.layers.compatibility import check_declared
from hanabi.control.layers.layer_names import LayerName, check_number
from hanabi.control.layers.model import Layer, LayerVersion, changed_versions, layer_document, read_layer
from hanabi.control.registry import Kind, Registry
from hanabi.control.settings import refuse_unsupported
from hanabi.errors import ResourceNotFound


class Layers(Registry[Layer]):
    """The layers. A document is `layers/<name>`, its versions `layer-versions/<name>/<number>`. They change together only."""

    def __init__(
        self,
        store: Store,
        code: CodeStore,
        account_region: AccountRegion,
        clock: Clock,
        health: Health | None = None,
        sources: CodeSources | None = None,
    ) -> None:
        kind = Kind("layer", "layers/", read_layer, layer_document, "layer-versions/", changed_versions)
        super().__init__(store, kind, clock, health)
        self.account_region = account_region
        self._code = code
        self._sources = sources or CodeSources(code, None)
        self._clock = clock
        self.foreign_policy: Callable[[LayerName], tuple[Mapping[str, Any], ...]] = lambda name: ()  # of another account's layer version
        self._uploads: list[str] = []  # SHA-256 of zips that are stored, and about to be referenced

    @property
    def hashes(self) -> Set[str]:
        """The hashes of all zips in use here."""
        return {version.sha256 for layer in self for version in layer.versions.values()} | set(self._uploads)

    @property
    def why_incomplete(self) -> str:
        """Why the zips in use are not fully known; empty: they are."""
        damaged = sorted(self.damaged)
        return f"layers whose documents are damaged: {', '.join(damaged[:5])}; what they need is not known" if damaged else ""

    def find_version(self, name: LayerName) -> LayerVersion | None:
        """Return a version of a layer of this account and region, if there is one."""
        assert name.number is not None
        layer = self.get(name.name) if name.is_in(self.account_region) else None
        return layer.versions.get(name.number) if layer else None

    def require_version(self, name: LayerName) -> LayerVersion:
        """Return a version. Raises `ResourceNotFound`, in the words of the permission operations."""
        version = self.find_version(name)
        if version is None:
            raise ResourceNotFound(f"Layer version {name.arn} does not exist.")
        return version

    async def publish(self, name: str, params: Mapping[str, Any]) -> LayerVersion:
        """Publish a version. `params` are PublishLayerVersion's, the content given as bytes or a file."""
        check_declared(params)
        refuse_unsupported(params["Content"])
        self.get(name)  # raises for a damaged one, before its zip is unpacked
        stored = await self._sources.receive(params["Content"], "Missing Content")
        self._uploads.append(stored.sha256)
        try:
            runtimes, architectures = params.get("CompatibleRuntimes"), params.get("CompatibleArchitectures")
            version = LayerVersion(
                number=0,
                sha256=stored.sha256,
                size=stored.size,
                object=stored.object,
                unzipped_size=await self._code.measure(stored.sha256),
                created_ms=int(self._clock.time() * 1000),
                description=params.get("Description") or "",
                license=params.get("LicenseInfo"),
                runtimes=None if runtimes is None else tuple(runtimes),
                architectures=None if architectures is None else tuple(architectures),
            )
        except BaseException:
            self._uploads.remove(stored.sha256)
            raise

        def add(old: Layer | None) -> Layer:
            layer = old or Layer(name=name)
            return layer.with_version(replace(version, number=layer.last_version + 1))

        task = self.begin(name, add)
        task.add_done_callback(lambda _: self._uploads.remove(stored.sha256))
        layer = await asyncio.shield(task)
        assert layer is not None
        return layer.versions[layer.last_version]

    async def delete(self, name: str, number: int) -> None:
        """Delete a version; no error when it does not exist. Functions that have it keep it."""
        check_number(number)
        await self.update(name, lambda layer: layer.without_version(number))

    async def change_version(self, name: LayerName, change: Callable[[LayerVersion], LayerVersion]) -> LayerVersion:
        """Replace a version by what `change` makes of it. Raises `ResourceNotFound`."""
        self.require_version(name)

        def apply(old: Layer | None) -> Layer:
            assert name.number is not None
            if old is None or name.number not in old.versions:
                raise ResourceNotFound(f"Layer version {name.arn} does not exist.")
            versions = {**old.versions, name.number: change(old.versions[name.number])}
            return replace(old, versions=versions)

        layer = await self.commit(name.name, apply)
        assert layer is not None and name.number is not None
        return layer.versions[name.number]
