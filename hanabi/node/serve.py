"""The one function that wires a node: every room is made here and handed what it needs."""

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from hanabi.base.clock import Clock, SystemClock
from hanabi.base.files import empty_directory
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.credentials import Principal
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.http import HttpRequest
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.sandbox import Driver
from hanabi.control.arns import AccountRegion
from hanabi.control.migrations import FORMATS
from hanabi.control.plane import open_control_plane
from hanabi.edge.auth.authorize import LENIENT_CHOICES, Authorizer
from hanabi.edge.auth.keys import KeyRing
from hanabi.edge.edge import Edge
from hanabi.edge.protocols.model import endpoint_variable
from hanabi.edge.service import Service
from hanabi.environment.node_heap import for_memory, for_version
from hanabi.environment.shared import Closable, SharedServices
from hanabi.environment.variables import preload_of
from hanabi.errors import ImageError
from hanabi.fleet.fleet import Fleet
from hanabi.fleet.pressure import HostMemory
from hanabi.fleet.settings import FleetSettings
from hanabi.fleet.snapshots import Snapshots
from hanabi.frontends.function_urls.access import UrlAccess
from hanabi.frontends.function_urls.addresses import UrlAddresses, address_of, named_url
from hanabi.frontends.function_urls.handler import FunctionUrls
from hanabi.http.access_log import AccessLog
from hanabi.http.limits import Limits
from hanabi.http.server import HttpServer
from hanabi.images.code.store import CodeStore
from hanabi.images.collector import Collector
from hanabi.images.containers.images import ContainerImages
from hanabi.images.identity import identify
from hanabi.images.runtimes.prebuild import prebuild
from hanabi.images.runtimes.roots import RuntimeImages
from hanabi.invoke.admission import Admission
from hanabi.invoke.invoker import LocalInvoker
from hanabi.invoke.provisioned_use import describe_provisioned
from hanabi.ledger import index
from hanabi.ledger import usage_copy as sums_copy
from hanabi.ledger.index_writer import ProcessIndexWriter
from hanabi.ledger.journal import FileJournal
from hanabi.ledger.logs import LogStore
from hanabi.ledger.usage import Usage
from hanabi.ledger.usage_copy import UsageCopy
from hanabi.node.config import NodeSettings, guest_dir, is_loopback
from hanabi.node.drain import Drain, StopSignals
from hanabi.node.drivers import choose_driver
from hanabi.quotas import MEMORY_DEFAULT_MB
from hanabi.sandbox.host.host import raise_descriptor_limit
from hanabi.services.iam.execution_roles import ExecutionRoles
from hanabi.services.iam.service import IamService
from hanabi.services.lambda_ import LambdaService
from hanabi.services.lambda_.code_download import CodeEndpoint
from hanabi.services.lambda_.code_upload import Staging
from hanabi.services.logs.service import LogsService
from hanabi.services.own.environments import EnvironmentsEndpoint
from hanabi.services.own.health import AliveEndpoint, HealthEndpoints
from hanabi.services.own.urls import UrlsEndpoint
from hanabi.services.own.usage import UsageEndpoint
from hanabi.services.sts import StsService
from hanabi.store.database import Database
from hanabi.store.sqlite import SqliteStore
from hanabi.triggers.event_log import SqliteEventLog
from hanabi.triggers.event_queue import DurableQueue

MIB = 1 << 20
CONNECTIONS = 4096  # of clients; fewer where the process may not have twice as many descriptors
# What anybody may ask who reaches the port. A head: as AWS's load balancers take; less from those who have not signed anything yet.
EDGE_LIMITS = Limits(head_bytes=MIB // 16, unauthenticated_head_bytes=MIB // 64)
# What one environment may ask of the API: it shares the loop and the memory of the server with all others.
ENVIRONMENT_LIMITS = Limits(
    head_bytes=MIB // 16, connections=64, buffered_bytes=16 * MIB, spooled_bytes=128 * MIB, rate=500.0, refusal_s=0.05
)
ANNOUNCE_INTERVAL_S = 600.0  # at most: a root that cannot be built is not tried all the time
log = logging.getLogger(__name__)


async def serve(settings: NodeSettings, ready: Callable[[str], None]) -> None:
    """Run a node until SIGTERM or SIGINT. `ready` is called once, with the endpoint, the driver and why, when it serves.

    Raises `IsolationUnavailable` when the isolation asked for cannot be given, and `OSError` when the port is taken.
    """
    os.umask(0o022)
    stop = StopSignals()
    stop.listen()
    listener = _listen(settings.host, settings.port)
    clock = SystemClock()
    health = Health(clock)
    driver = choose_driver(settings, health)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        data = settings.data_dir
        store = SqliteStore(data / "state.db", FORMATS, health, clock)
        await store.open()
        stack.push_async_callback(store.close)
        accepted = SqliteEventLog(data / "events.db")
        stack.push_async_callback(accepted.close)
        await accepted.open()
        if accepted.lost:
            health.report("lost writes of events.db", accepted.lost)
        keys = KeyRing.open(settings.keys_file, region=settings.region, account=settings.account, clock=clock)
        record = Database(data / "record.db", index.SCHEMA)
        stack.push_async_callback(record.close)
        sums = UsageCopy(Database(data / "usage.db", sums_copy.SCHEMA), health)
        segments = settings.directory("journal")
        index_writer = ProcessIndexWriter(record, segments, clock)
        journal = FileJournal(segments, record, sums, clock, index_writer=index_writer, health=health)
        await journal.open()
        stack.push_async_callback(journal.close)

        images = RuntimeImages(settings.images_dir, guest_dir())
        stack.push_async_callback(images.close)
        code = CodeStore(settings.directory("code"), clock)
        await code.open()
        identity = await identify(store, data, keeps=not code.is_empty)
        containers = ContainerImages(settings.images_dir, identity.owner, settings.insecure_registry, clock)
        await containers.open()
        stack.push_async_callback(containers.close)
        spool = empty_directory(data / "spool")
        access = AccessLog(settings.access_log, clock, health) if settings.access_log else None
        if access is not None:
            stack.push_async_callback(access.close)
            stack.push_async_callback(_cancel, asyncio.create_task(access.run(), name="access log"))
        attach = EdgeAttacher(clock, spool, access)
        host = SharedServices(clock, journal, keys, attach, settings.freeze_after_ms / 1000)
        memory = HostMemory()

        async def image_of(version: FunctionVersion) -> RuntimeImage:
            """What an environment is started on. Raises `ResourceConflict` when the version's own code is not there."""
            if version.container is None:
                await control.presence.require(version)
                return for_version(await images.ensure(version.runtime), version)
            try:
                image = await containers.ensure(version.container.image)
                if os.access(image.root, os.F_OK):
                    return image
            except ImageError as error:
                log.warning("the image of %s:%s is not there: %s", version.name, version.version, error)
            await control.presence.refuse(version)
            return await containers.ensure(version.container.image)

        fleet = Fleet(
            driver,
            image_of,
            host,
            FleetSettings(
                max_environments=settings.max_environments,
                max_memory_mb=settings.max_memory_mb or memory.budget_mb,
                pool_size=settings.pool_size,
                idle_timeout_s=settings.idle_timeout_s,
                trim_after_s=settings.trim_after_s,
                hibernate_after_s=settings.hibernate_after_s,
                hibernate_to=settings.directory("run") / "hibernated",
            ),
            memory.read,
            health,
        )
        await fleet.open()
        stack.push_async_callback(fleet.close)

        url_for = partial(_function_url, settings)
        pooled = PooledImages(images, fleet, driver)
        missing = "" if driver.can_snapshot else f"its isolation is {driver.name}, and only microVMs have snapshots"
        snapshots = Snapshots(settings.directory("snapshots"), fleet, missing, clock)
        control = await stack.enter_async_context(
            open_control_plane(
                store,
                code,
                pooled,
                clock,
                AccountRegion(settings.account, settings.region),
                url_for=url_for,
                containers=PreparedContainers(containers, driver) if driver.uses_roots else None,
                snapshots=snapshots,
                health=health,
            )
        )
        functions, catalog, presence, references = control.functions, control.catalog, control.presence, control.references
        catalog.on_retired(fleet.retire)
        await presence.check()  # what is said of a function is true from the start
        stack.push_async_callback(_cancel, asyncio.create_task(presence.run(), name="presence"))
        collection = Collector(clock, health, lambda: identity.why_incomplete or store.why_incomplete or references.why_incomplete)
        collection.add(snapshots.collect, references.snapshots)
        collection.add(code.collect, lambda: references.code() | fleet.code_in_use())
        collection.add(containers.collect, lambda: references.images() | fleet.images_in_use())
        stack.push_async_callback(_cancel, asyncio.create_task(collection.run(), name="collection"))

        admission = Admission(catalog)
        fleet.on_allocated(lambda version, count: admission.provision(version.name, version.key, count))
        roles = ExecutionRoles(functions.account_region, any_role=settings.roles == "any")
        invoker = LocalInvoker(fleet, admission, journal, clock, roles.check_invocable)
        stack.push_async_callback(invoker.close)
        events = DurableQueue(accepted, catalog, invoker, clock, is_full=lambda: journal.full, health=health)

        iam = IamService(store, clock, functions.account_region, roles.changed)
        await iam.open()
        authorize = Authorizer(iam.find_policies, clock, functions.account_region, lenient=settings.roles != "strict")
        zips = CodeEndpoint(code, keys, clock)
        staging = Staging(empty_directory(data / "staging"), clock)
        stack.callback(staging.close)
        services: list[Service] = [
            LambdaService(control, invoker, events, clock, zips.code_url, fleet.allocation, roles, staging.given),
            iam,
            StsService(keys, iam.find_role),
            LogsService(LogStore(journal, clock), clock, functions.account_region),
        ]
        host.served_services.extend(endpoint_variable(service.name) for service in services)
        laxer = [LENIENT_CHOICES[settings.roles]] if settings.roles in LENIENT_CHOICES else []
        shown = HealthEndpoints(health, laxer, partial(roles.report, functions, health))
        own = (
            AliveEndpoint(settings.region, keys.root.access_key, lambda: edge.draining),
            EnvironmentsEndpoint(
                {
                    "environments": fleet.describe,
                    "provisioned": partial(describe_provisioned, fleet, admission),
                    "events": events.meter.describe,
                    "budget": fleet.describe_budget,
                }
            ),
            shown,
            UrlsEndpoint(control, partial(named_url, settings.port)),
            UsageEndpoint(Usage(journal)),
            staging,
            zips,
        )

        async def verify(request: HttpRequest) -> Principal:
            return await edge.api.verifier.verify(request, "lambda")

        authenticate = UrlAccess(functions, verify, authorize, everybody=settings.roles != "strict")
        gateway = FunctionUrls(control.urls, catalog, invoker, authenticate, clock)
        edge = Edge(
            services,
            keys,
            clock,
            settings.region,
            frontends=[gateway],
            endpoints=[endpoint for each in own for endpoint in each.endpoints],
            hosts=[settings.host],
            authorize=authorize,
            spool=spool,
        )
        attach.edge = edge
        control.provisioned.on_provisioned(fleet.provision)  # from here on what is in environments can reach the edge

        connections = min(CONNECTIONS, raise_descriptor_limit() // 2)
        limits = replace(EDGE_LIMITS, body=edge.body_rule, connections=connections)
        handler, refuse = (access.wrap(edge.handle), access.wrap_refusal(edge.refuse)) if access else (edge.handle, edge.refuse)
        server = await HttpServer(handler, clock=clock, limits=limits, spool=spool, refuse=refuse, health=health).listen(listener)
        addresses = UrlAddresses(settings.port, gateway.handler_for, clock, health)
        if is_loopback(settings.host):
            control.urls.on_url(addresses.add, addresses.remove)
        await events.open()
        stack.push_async_callback(
            Drain([server, addresses], edge, gateway, events, invoker, fleet, clock, health, settings.drain_s).run, stop.stop_now
        )
        runtimes = {each.latest.settings.runtime for each in functions if not each.latest.code.image}
        announcements = RetryQueue(clock, health, longest_delay_s=ANNOUNCE_INTERVAL_S)
        announcing = asyncio.create_task(pooled.announce(runtimes, announcements), name="pool announcement")
        stack.push_async_callback(announcements.cancel)
        stack.push_async_callback(_cancel, announcing)
        if not settings.no_prebuild and driver.uses_roots:
            stack.push_async_callback(_cancel, asyncio.create_task(prebuild(images, runtimes), name="prebuild"))
        gc.collect()
        gc.freeze()  # what is there now stays: no collection need ever look at it again
        gc.set_threshold(50_000, 20, 50)  # an invocation leaves no cycles behind: looking for them every 700 objects is wasted
        ready(f"http://{settings.host}:{settings.port} {driver.describe()}")
        await stop.requested.wait()


class EdgeAttacher:
    """Serves the API to sockets inside environments; the edge is made after the fleet, so it is filled in later."""

    def __init__(self, clock: Clock, spool: Path, access: AccessLog | None = None) -> None:
        self.edge: Edge | None = None
        self._access = access
        self._clock = clock
        self._spool = spool

    async def __call__(self, sock: socket.socket, access_key: str) -> Closable:
        assert self.edge is not None
        handler = self.edge.handler_for(access_key)
        return await HttpServer(
            self._access.wrap(handler) if self._access else handler,
            clock=self._clock,
            limits=replace(ENVIRONMENT_LIMITS, body=self.edge.body_rule),
            spool=self._spool,
            refuse=self.edge.refuse,
            name_peers=False,
        ).listen(sock)


class PooledImages:
    """The images as control sees them: a runtime that functions use is also one to keep environments ready for."""

    def __init__(self, images: RuntimeImages, fleet: Fleet, driver: Driver) -> None:
        self.known = images.known
        self.prepare_code = driver.prepare_directory
        self.why_unavailable = driver.why_unavailable
        self._images = images
        self._fleet = fleet
        self._driver = driver

    async def ensure(self, runtime: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
        image = await self._images.ensure(runtime, lambda line: progress(f"building the runtime root of {runtime}: {line}"))
        if self._driver.can_snapshot:
            progress(f"making the snapshot that microVMs of {runtime} start from")
        await self._driver.prepare(image, preload_of(image))
        self._fleet.keep_pool_for(for_memory(image, MEMORY_DEFAULT_MB))
        return image

    async def announce(self, runtimes: Iterable[str], retries: RetryQueue) -> None:
        """Functions of an earlier run are prepared already, and nobody will ask for their runtimes before the first cold start."""
        for runtime in runtimes:
            await retries.do(f"announce.{runtime}", f"No environments of {runtime} can be kept ready", partial(self.ensure, runtime))


class PreparedContainers:
    """The container images as control sees them: one that is there is also ready to be started."""

    def __init__(self, containers: ContainerImages, driver: Driver) -> None:
        self.resolve = containers.resolve
        self.find_missing = containers.find_missing
        self._containers = containers
        self._driver = driver

    async def ensure(self, image: str, progress: Callable[[str], None] = lambda line: None) -> RuntimeImage:
        ready = await self._containers.ensure(image, progress)
        await self._driver.prepare(ready, preload_of(ready))
        return ready


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _function_url(settings: NodeSettings, url_id: str) -> str:
    """At an address of its own, or under a name where Hanabi listens to other machines."""
    return f"http://{address_of(url_id)}:{settings.port}/" if is_loopback(settings.host) else named_url(settings.port, url_id)
