"""The wiring of a node, in one function: makes every part and passes it what it needs."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial

from hanabi.base.clock import Clock, SystemClock
from hanabi.base.files import empty_directory
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.base.tasks import cancel_and_wait
from hanabi.control.all_planes import AllPlanes, PresenceChecks
from hanabi.control.arns import AccountRegion
from hanabi.control.code_signing.signatures import ZipSignatures
from hanabi.control.layers.foreign_layers import ForeignLayers
from hanabi.control.plane import ControlPlane, open_control_plane
from hanabi.control.planes import open_control_planes
from hanabi.control.recent_updates import SHOWN_S as UPDATES_SHOWN_S
from hanabi.control.record_names import RecordNames
from hanabi.edge.auth.any_signature import CHOICE
from hanabi.edge.auth.authorize import LENIENT_CHOICES, Authorizer
from hanabi.edge.edge import Edge
from hanabi.edge.own_endpoints import OwnEndpointGroup
from hanabi.edge.service import EachPlace, Service
from hanabi.environment.shared import SharedServices
from hanabi.fleet.fleet import Fleet
from hanabi.fleet.pressure import HostMemory
from hanabi.fleet.settings import FleetSettings
from hanabi.fleet.snapshots import Snapshots
from hanabi.frontends.function_urls.access import UrlAccess
from hanabi.frontends.function_urls.addresses import UrlAddresses, named_url, url_of
from hanabi.frontends.function_urls.handler import FunctionUrls
from hanabi.http.access_log import AccessLog
from hanabi.images.code.signing_keys import SigningProfiles
from hanabi.images.layers.layer_source import LayerSource
from hanabi.images.runtimes.prebuild import prebuild
from hanabi.invoke.admission import Admission
from hanabi.invoke.invoker import LocalInvoker
from hanabi.invoke.provisioned_use import describe_provisioned
from hanabi.ledger.logs import LogStore
from hanabi.ledger.usage import JournalUsage
from hanabi.node.artifacts import make_collector, open_artifacts, open_s3
from hanabi.node.config import NodeSettings, is_loopback
from hanabi.node.drain import Drain, StopSignals
from hanabi.node.drivers import choose_driver
from hanabi.node.endpoint import EdgeServers, listen
from hanabi.node.function_endpoints import endpoint_url, endpoint_variables
from hanabi.node.host_attachments import open_attachments
from hanabi.node.prepared_images import ANNOUNCE_INTERVAL_S, PreparedContainers, PreparedRuntimes, VersionImages
from hanabi.node.state import open_state
from hanabi.sandbox.host.host import HIBERNATED
from hanabi.services.iam.accounts import IamAccounts
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.services.lambda_ import LambdaService
from hanabi.services.lambda_.code_download import CodeEndpoint
from hanabi.services.lambda_.code_upload import Staging
from hanabi.services.logs.service import LogsService
from hanabi.services.own.environments import EnvironmentsEndpoint
from hanabi.services.own.health import AliveEndpoint, HealthEndpoints
from hanabi.services.own.keys import KeysEndpoint
from hanabi.services.own.urls import UrlsEndpoint
from hanabi.services.own.usage import UsageEndpoint
from hanabi.services.sts import StsService
from hanabi.store.scoped import ScopedStore
from hanabi.triggers.event_queue import DurableQueue


async def serve(settings: NodeSettings, ready: Callable[[str], None]) -> None:
    """Run a node until SIGTERM or SIGINT. Once it serves, `ready` is called with the endpoint, the driver and why it was chosen.

    Raises `IsolationUnavailable` when the requested isolation does not work here, and `OSError` when the port is taken.
    """
    os.umask(0o022)
    stop = StopSignals()
    stop.listen()
    listener = listen(settings.host, settings.port)
    clock, place, port = SystemClock(), AccountRegion(settings.account, settings.region), settings.port
    health = Health(clock)
    driver = choose_driver(settings, health)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        # what there is
        state = await stack.enter_async_context(open_state(settings, clock, health))
        store, journal, keys = state.store, state.journal, state.keys
        artifacts = await stack.enter_async_context(open_artifacts(settings, store, clock))
        access = await stack.enter_async_context(_open_access_log(settings, clock, health))
        spool = empty_directory(settings.data_dir / "spool")

        # runs functions: `edge` and `control` are made further down, on top of the fleet
        servers = EdgeServers(lambda: edge, clock, spool, access)
        shared = SharedServices(
            clock, journal, keys, servers.attach, settings.freeze_after_ms / 1000, endpoint_url(settings.function_endpoint)
        )
        version_images = VersionImages(artifacts, lambda: everything)
        memory = HostMemory()
        fleet = Fleet(driver, version_images.find, shared, _fleet_settings(settings, memory.budget_mb), memory.read, health)
        await fleet.open()
        stack.push_async_callback(fleet.close)

        # what exists
        runtimes = PreparedRuntimes(artifacts.runtimes, driver, fleet.keep_pool_for)
        containers = PreparedContainers(artifacts.containers, driver) if driver.uses_roots else None
        missing = "" if driver.can_snapshot or driver.copies_processes else f"its isolation is {driver.name}, which has no snapshots"
        snapshots = Snapshots(settings.directory("snapshots"), fleet, missing, clock)
        url_for = partial(url_of, port, is_loopback(settings.host))
        names = RecordNames(state.home)
        layer_source = LayerSource(settings.layer_source, spool) if settings.layer_source else None
        attachments = open_attachments(settings.vpc, settings.filesystem, driver)
        objects = await stack.enter_async_context(open_s3(settings, spool))
        foreign_layers = ForeignLayers(layer_source, artifacts.code, clock, lambda name: everything.find_layer(name))
        stack.push_async_callback(foreign_layers.close)

        signatures = ZipSignatures(artifacts.code.zip_path, SigningProfiles(settings.data_dir), clock)

        def open_plane(at: AccountRegion) -> AbstractAsyncContextManager[ControlPlane]:
            return open_control_plane(
                ScopedStore(store, at.prefix), artifacts.code, artifacts.layer_sets, runtimes, clock, at,
                url_for=url_for, scope=names.scope(at), foreign_layers=foreign_layers, objects=objects, cipher=state.cipher,
                attachments=attachments, signatures=signatures, containers=containers, snapshots=snapshots,
                health=health.within(names.scope(at).rstrip(":")), updates_shown_s=UPDATES_SHOWN_S,
            )  # fmt: skip

        planes = await stack.enter_async_context(open_control_planes(store, state.home, open_plane, clock))
        everything = AllPlanes(planes)
        planes.on_open(lambda plane: plane.catalog.on_retired(fleet.retire))
        for plane in planes:
            await plane.presence.check()  # so that functions are described correctly from the start
        stack.push_async_callback(PresenceChecks(planes).close)
        _run_beside(stack, make_collector(artifacts, store, everything, snapshots, fleet, clock, health).run(), "collector")

        # how it is invoked
        admission = Admission(everything)
        roles = ExecutionRoles(place, any_role=settings.roles == "any", any_account=settings.auth == "none")
        fleet.on_allocated(lambda version, count: admission.provision(version.record_name, version.key, count))
        invoker = LocalInvoker(fleet, admission, journal, clock, roles.check_invocable, settings.stream_mb_s * (1 << 20))
        stack.push_async_callback(invoker.close)
        events = DurableQueue(state.accepted, everything, invoker, clock, is_full=lambda: journal.full, health=health)

        # one line for each service, endpoint and frontend
        def make_iam(account: str) -> IamService:
            part = "" if account == state.home.account else f"account {account}"
            at = AccountRegion(account, settings.region)
            return IamService(ScopedStore(store, f"{account}/"), clock, at, roles.changed, health.within(part), keys)

        iam = IamAccounts(store, make_iam)
        await iam.open()
        stack.push_async_callback(iam.close)
        authorize = Authorizer(
            iam.find_identity, clock, place, own_logs=settings.iam != "enforce", lenient=settings.roles != "strict", note_use=keys.note_use
        )
        downloads = CodeEndpoint(artifacts.code, keys, clock)
        uploads = Staging(empty_directory(settings.data_dir / "staging"), clock)
        stack.callback(uploads.close)

        def make_lambda(plane: ControlPlane) -> LambdaService:
            allowed = roles.of(plane.account_region)
            return LambdaService(plane, invoker, events, clock, downloads.code_url, fleet.allocation, allowed, uploads.given)

        async def lambda_at(at: AccountRegion) -> LambdaService:
            return make_lambda(await planes.get(at))

        async def logs_at(at: AccountRegion) -> LogsService:
            return LogsService(LogStore(journal, clock, names.scope(at)), clock, at)

        services: list[Service] = [
            EachPlace(await lambda_at(place), lambda_at, lambda at: planes.find(at) is not None),
            StsService(keys, iam.find_role, iam.find_document, clock),
            EachPlace(await iam.at(place), iam.at),
            EachPlace(await logs_at(place), logs_at),
        ]
        lenient = [LENIENT_CHOICES[settings.roles]] if settings.roles in LENIENT_CHOICES else []
        lenient += [CHOICE] if settings.auth == "none" else []
        lenient += settings.runtime_sources.laxer()
        own: list[OwnEndpointGroup] = [
            AliveEndpoint(settings.region, keys.root.access_key, lambda: edge.draining),
            EnvironmentsEndpoint(
                settings.account,
                {"environments": fleet.describe, "provisioned": partial(describe_provisioned, fleet, admission)},
                {"events": events.meter.describe, "budget": fleet.describe_budget},
            ),
            HealthEndpoints(health, lenient, lambda: roles.report(everything.functions(), health)),
            KeysEndpoint(keys),
            UrlsEndpoint(planes.find, partial(named_url, port)),
            UsageEndpoint(JournalUsage(journal), names.scope),
            downloads,
            uploads,
        ]
        url_access = UrlAccess(
            lambda request: edge.verify(request, "lambda"), authorize, everybody=settings.roles != "strict" and settings.auth != "none"
        )
        function_urls = FunctionUrls(everything, everything, invoker, url_access, clock)
        endpoints = [endpoint for each in own for endpoint in each.endpoints]
        edge = Edge(
            services, keys, clock, settings.region,
            frontends=[function_urls], endpoints=endpoints, hosts=[settings.host], authorize=authorize, spool=spool,
            any_signature=settings.auth == "none",
        )  # fmt: skip
        shared.endpoint_variables.extend(endpoint_variables(settings.function_endpoint, (service.name for service in services)))
        planes.on_close(edge.api.services.forget)
        iam.on_close(edge.api.services.forget_account)
        planes.on_open(lambda plane: plane.provisioned.on_provisioned(fleet.provision))  # from here on environments can reach the edge

        # serve
        server = await servers.serve(listener, health)
        addresses = UrlAddresses(port, function_urls.handler_for, clock, health)
        if is_loopback(settings.host):
            planes.on_open(lambda plane: plane.urls.on_url(addresses.add, addresses.remove))
        await events.open()
        drain = Drain([server, addresses], edge, events, invoker, fleet, clock, health, settings.drain_s)
        stack.push_async_callback(drain.run, stop.stop_now)
        used = {each.latest.settings.runtime for each in everything.functions() if not each.latest.code.image}
        announcements = RetryQueue(clock, health, longest_delay_s=ANNOUNCE_INTERVAL_S)
        stack.push_async_callback(announcements.cancel)
        _run_beside(stack, runtimes.announce(used, announcements), "pool announcement")
        if not settings.no_prebuild and driver.uses_roots:
            _run_beside(stack, prebuild(artifacts.runtimes, used), "prebuild")
        _settle_heap()
        ready(f"http://{settings.host}:{port} {driver.describe()}")
        await stop.requested.wait()


def _run_beside(stack: AsyncExitStack, work: Coroutine[None, None, None], name: str) -> None:
    """Run a task until the exit stack closes."""
    stack.push_async_callback(cancel_and_wait, [asyncio.create_task(work, name=name)])


@asynccontextmanager
async def _open_access_log(settings: NodeSettings, clock: Clock, health: Health) -> AsyncIterator[AccessLog | None]:
    if not settings.access_log:
        yield None
        return
    access = AccessLog(settings.access_log, clock, health)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(access.close)
        _run_beside(stack, access.run(), "access log")
        yield access


def _settle_heap() -> None:
    gc.collect()
    gc.freeze()  # objects made so far stay: garbage collections can skip them
    gc.set_threshold(50_000, 20, 50)  # an invocation leaves no cycles: collecting every 700 objects is wasted work


def _fleet_settings(settings: NodeSettings, budget_mb: int) -> FleetSettings:
    """Make the fleet's settings. `budget_mb`: from the host's memory, where the settings have none."""
    return FleetSettings(
        max_environments=settings.max_environments,
        max_memory_mb=settings.max_memory_mb or budget_mb,
        pool_size=settings.pool_size,
        idle_timeout_s=settings.idle_timeout_s,
        trim_after_s=settings.trim_after_s,
        hibernate_after_s=settings.hibernate_after_s,
        hibernate_to=settings.directory("run") / HIBERNATED,
    )
