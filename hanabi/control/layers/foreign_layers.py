"""Layers of other accounts, of this node or from `--layer-source`, by ARN. A version never changes: each is fetched once in a server's
life.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.tasks import SingleFlight
from hanabi.control.dependencies import CodeStore, LayerSource
from hanabi.control.layers.layer_names import LayerName
from hanabi.control.layers.layer_policies import is_shared_with
from hanabi.control.layers.model import LayerVersion
from hanabi.errors import AccessDenied, ImageError, InvalidParameterValue, ServiceError, ShuttingDown

REMEMBERED = 1_000  # versions


_EVERYBODY: tuple[Mapping[str, Any], ...] = ({"Effect": "Allow", "Principal": "*", "Action": "lambda:GetLayerVersion"},)


class ForeignLayers:
    """The foreign layers. Their zips are kept in the code store, as long as a function has them.

    `find_here` finds those of accounts of this node, which come before those of the source.
    """

    def __init__(
        self,
        source: LayerSource | None,
        code: CodeStore,
        clock: Clock,
        find_here: Callable[[LayerName], LayerVersion | None] = lambda name: None,
    ) -> None:
        self._find_here = find_here
        self._source = source
        self._code = code
        self._clock = clock
        self._known: dict[LayerName, LayerVersion] = {}
        self._fetching: SingleFlight[LayerName, LayerVersion | None] = SingleFlight(closed=ShuttingDown)

    async def find(self, name: LayerName, caller: str) -> LayerVersion:
        """Return a version of a layer of another account; `caller` is the ARN of who asks. Raises `AccessDenied` when it is not there."""
        here = self._find_here(name)
        if here is not None and is_shared_with(here, caller.split(":")[4] if caller.count(":") >= 5 else ""):
            return here
        known = self._known.get(name)
        if known is not None and not await self._code.find({known.sha256}):
            return known
        found = await self._fetching.run(name, lambda: self._fetch(name), f"layer {name.arn}") if self._source else None
        if found is None:
            where = "--layer-source has no such layer" if self._source else "layers of other accounts come from --layer-source"
            raise AccessDenied(
                f"User: {caller} is not authorized to perform: lambda:GetLayerVersion on resource: {name.arn} "
                f"because no resource-based policy allows the lambda:GetLayerVersion action (Hanabi: {where})"
            )
        return found

    def policy_of(self, name: LayerName) -> tuple[Mapping[str, Any], ...]:
        """Return the resource policy of a layer version of another account: everybody may have those of the source."""
        here = self._find_here(name)
        return here.policy if here is not None else _EVERYBODY if self._source is not None else ()

    async def close(self) -> None:
        """Stop fetching."""
        await self._fetching.close()

    async def _fetch(self, name: LayerName) -> LayerVersion | None:
        assert self._source is not None
        try:
            async with self._source.fetch(name.arn) as found:
                if found is None:
                    return None
                archive, description = found
                stored = await self._code.store(archive)
        except ImageError as error:
            raise ServiceError(f"Layer version {name.arn} cannot be fetched from --layer-source: {error}") from None
        expected = _texts(description.get("Content")).get("CodeSha256")
        if expected is not None and expected != stored.sha256:
            raise InvalidParameterValue(
                f"Layer version {name.arn} of --layer-source is damaged: it is not the zip file that was described."
            )
        version = self._describe(name, description, stored.sha256, stored.size, await self._code.measure(stored.sha256))
        while len(self._known) >= REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[name] = version
        return version

    def _describe(self, name: LayerName, description: Mapping[str, Any], sha256: str, size: int, unzipped_size: int) -> LayerVersion:
        texts = _texts(description)
        assert name.number is not None
        return LayerVersion(
            number=name.number,
            sha256=sha256,
            size=size,
            unzipped_size=unzipped_size,
            created_ms=_read_time_ms(texts.get("CreatedDate", "")) or int(self._clock.time() * 1000),
            description=texts.get("Description", ""),
            license=texts.get("LicenseInfo"),
            runtimes=_read_list(description.get("CompatibleRuntimes")),
            architectures=_read_list(description.get("CompatibleArchitectures")),
        )


def _texts(given: Any) -> dict[str, str]:
    """Return the members that are texts."""
    return {member: value for member, value in given.items() if isinstance(value, str)} if isinstance(given, dict) else {}


def _read_list(given: Any) -> tuple[str, ...] | None:
    return tuple(each for each in given if isinstance(each, str)) if isinstance(given, list) else None


def _read_time_ms(text: str) -> int:
    """Read `2018-11-27T15:10:45.123+0000`; 0 for anything else."""
    try:
        return max(0, int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() * 1000))
    except ValueError:
        return 0
