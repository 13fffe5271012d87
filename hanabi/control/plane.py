"""The wiring of the control plane: registry, preparation and catalog."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.store import Store
from hanabi.control.account_usage import AccountUsage
from hanabi.control.arns import AccountRegion
from hanabi.control.attachments import NOTHING, Attachments
from hanabi.control.catalog import FunctionCatalog
from hanabi.control.code_presence import CodePresence
from hanabi.control.code_signing.code_admission import CodeAdmission, Signatures
from hanabi.control.code_signing.configs import CodeSigningConfigs
from hanabi.control.code_signing.signatures import NoSignatures
from hanabi.control.code_sources import CodeSources
from hanabi.control.containers import Containers
from hanabi.control.dependencies import CodeObjects, CodeStore, LayerSets, LayerSource, Runtimes
from hanabi.control.deployment import Deployment
from hanabi.control.environment_cipher import EnvironmentCipher
from hanabi.control.event_source_mappings import EventSourceMappings
from hanabi.control.functions import Functions
from hanabi.control.layers.attachment import LayerAttachment
from hanabi.control.layers.foreign_layers import ForeignLayers
from hanabi.control.layers.layers import Layers
from hanabi.control.preparation import Preparation
from hanabi.control.provisioned_versions import ProvisionedVersions
from hanabi.control.recent_updates import RecentUpdates
from hanabi.control.references import References
from hanabi.control.snapstart import Snapshots, SnapStart
from hanabi.control.url_index import UrlIndex


@dataclass(frozen=True, slots=True)
class ControlPlane:
    functions: Functions  # what exists
    layers: Layers
    foreign_layers: ForeignLayers  # of other accounts
    code_signing: CodeSigningConfigs  # whose code functions accept
    mappings: EventSourceMappings  # of event sources
    deployment: Deployment  # functions made, updated, deleted
    preparation: Preparation  # what is being made ready
    recent: RecentUpdates  # what is shown as under way a moment longer
    snap_start: SnapStart  # whose snapshots are being made
    usage: AccountUsage  # what the account has stored
    catalog: FunctionCatalog  # what an invocation goes to: `contracts.functions.Catalog`
    provisioned: ProvisionedVersions  # how many environments of what are to be there ahead
    urls: UrlIndex  # function URLs by id
    presence: CodePresence  # whether what functions are made of is there
    references: References  # what is in use, and must be kept

    @property
    def account_region(self) -> AccountRegion:
        return self.functions.account_region

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not (self._tasks or self.deployment.uploads or self.layers.hashes)

    @property
    def _tasks(self) -> "list[asyncio.Task[Any]]":
        registries = (self.functions, self.layers, self.code_signing, self.mappings)
        return [*self.preparation.tasks, *self.snap_start.tasks, *(task for each in registries for task in each.tasks)]

    async def wait_idle(self) -> None:
        """Return when no change is under way and nothing is being prepared."""
        while tasks := self._tasks:
            await asyncio.wait(tasks)


@asynccontextmanager
async def open_control_plane(
    store: Store,
    code: CodeStore,
    layer_sets: LayerSets,
    runtimes: Runtimes,
    clock: Clock,
    account_region: AccountRegion,
    *,
    url_for: Callable[[str], str],
    scope: str = "",
    foreign_layers: ForeignLayers | None = None,
    layer_source: LayerSource | None = None,
    objects: CodeObjects | None = None,
    cipher: EnvironmentCipher | None = None,
    attachments: Attachments = NOTHING,
    containers: Containers | None = None,
    snapshots: Snapshots | None = None,
    signatures: Signatures | None = None,
    health: Health | None = None,
    updates_shown_s: float = 0.0,
) -> AsyncIterator[ControlPlane]:
    """Load the functions and continue unfinished preparations; at exit, wait for changes to end.

    `url_for` makes the URL of a function URL's id. `scope` precedes names in the record: `record_names`. Without `containers`, code
    is zips only; without `objects`, none is in S3; without `cipher`, environment variables are not encrypted;
    without `signatures`, no code is signed. `foreign_layers` are
    shared by all planes of a node; without them they come from `layer_source`. `updates_shown_s`: see `RecentUpdates`.
    """
    health = health or Health(clock)
    attachments = attachments.within(account_region)
    functions = Functions(store, account_region, clock, health, cipher)
    sources = CodeSources(code, objects)
    layers = Layers(store, code, account_region, clock, health, sources)
    code_signing = CodeSigningConfigs(store, account_region, clock, health)
    mappings = EventSourceMappings(store, functions, clock, health)
    foreign = foreign_layers or ForeignLayers(layer_source, code, clock)
    layers.foreign_policy = foreign.policy_of
    # Each is told of every change, in this order.
    placed = snapshots.directory if snapshots else None
    catalog = FunctionCatalog(functions, code.place, layer_sets.place, placed, scope, attachments)
    usage = AccountUsage(functions, layers)
    provisioned = ProvisionedVersions(functions, catalog.target)
    snap_start = SnapStart(functions, snapshots, catalog.target, clock, health)
    presence = CodePresence(functions, code, layer_sets, containers, snapshots, catalog.target, clock, health)
    urls = UrlIndex(functions, url_for)
    recent = RecentUpdates(functions, clock, updates_shown_s)
    preparation = Preparation(functions, code, layer_sets, runtimes, containers, clock, health, recent)
    admission = CodeAdmission(code_signing, signatures or NoSignatures(), health)
    deployment = Deployment(
        functions, LayerAttachment(layers, foreign, code), sources, runtimes, containers, recent, admission, attachments
    )
    references = References(functions, layers, code.place, layer_sets.place, lambda: deployment.uploads)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(functions.close)
        stack.push_async_callback(layers.close)
        stack.push_async_callback(code_signing.close)
        if foreign_layers is None:
            stack.push_async_callback(foreign.close)
        stack.push_async_callback(mappings.close)
        stack.push_async_callback(snap_start.close)
        stack.push_async_callback(preparation.close)
        await layers.open()
        await code_signing.open()
        await functions.open()
        await mappings.open()
        yield ControlPlane(
            functions,
            layers,
            foreign,
            code_signing,
            mappings,
            deployment,
            preparation,
            recent,
            snap_start,
            usage,
            catalog,
            provisioned,
            urls,
            presence,
            references,
        )
