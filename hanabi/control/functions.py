"""What exists: the functions of this node. The control plane's one object, and the invoke path's `Catalog`."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.contracts.functions import FunctionVersion, Route
from hanabi.contracts.images import RuntimeImage
from hanabi.contracts.store import Store
from hanabi.control import versions
from hanabi.control.arns import AccountRegion
from hanabi.control.code_presence import CodePresence
from hanabi.control.containers import IMAGE, Containers, check_source, failure, refusal
from hanabi.control.model import Code, Function, Url, Version, new_id
from hanabi.control.preparation_progress import PreparationProgress
from hanabi.control.provisioned import shares
from hanabi.control.registry import Change, Registry
from hanabi.control.routes import RouteTable
from hanabi.control.settings import change_settings, make_settings, refuse_unsupported
from hanabi.control.snapstart import Snapshots, SnapStart
from hanabi.control.tags import check_tags
from hanabi.errors import CodeError, ImageError, InvalidParameterValue, ResourceConflict, SandboxError

PREPARATION_LIMIT_S = 3600.0  # of a runtime image that is built at first use
BRIEF_WAIT_S = 1.0  # of a caller who was answered "Pending" and will most likely go on as if it were "Active"
log = logging.getLogger(__name__)


class StoredCode(Protocol):
    @property
    def sha256(self) -> str: ...  # of the zip, base64
    @property
    def size(self) -> int: ...  # of the zip


class CodeStore(Protocol):
    def place(self, sha256: str) -> Path:
        """Where code is, unpacked, if it is there."""

    async def find(self, hashes: Set[str]) -> Mapping[str, CodeError]:
        """Make sure of code, by `CodeSha256`; what is wrong with that which cannot be used."""

    async def store(self, blob: bytes | Path) -> StoredCode:
        """Unpack a zip. Raises `ApiError` when it is not a good one."""


class RuntimeImages(Protocol):
    def known(self, runtime: str) -> bool:
        """Whether there is such a runtime at all."""

    async def why_unavailable(self, runtime: str) -> str:
        """Why its functions cannot run on this host; empty: they can."""

    async def ensure(self, runtime: str, progress: Callable[[str], None]) -> RuntimeImage:
        """Its root, built if it is not there: `progress` gets what is being done. Raises `ImageError` with the reason."""

    async def prepare_code(self, directory: Path) -> None:
        """Make unpacked code ready to be mounted."""


class Functions:
    """Changes are on disk when they return. `url_for` makes the URL of a function URL's id. Without `containers`, code is zips only."""

    def __init__(
        self,
        store: Store,
        code: CodeStore,
        images: RuntimeImages,
        clock: Clock,
        *,
        account: str,
        region: str,
        url_for: Callable[[str], str],
        containers: Containers | None = None,
        snapshots: Snapshots | None = None,
        health: Health | None = None,
    ) -> None:
        self.account_region = AccountRegion(account, region)
        self.url_for = url_for
        self._code = code
        self._images = images
        self._containers = containers
        self._clock = clock
        self._retries = RetryQueue(clock, health)
        self._registry = Registry(store, self.account_region, self._on_changed, self._retries, health)
        self._routes = RouteTable(self.account_region, self._registry.get, code.place, snapshots.directory if snapshots else None)
        self._snap_start = SnapStart(snapshots, self._routes.target, self._settle_snapshot)
        self.presence = CodePresence(
            self._registry, code, containers, snapshots, self._routes.target, self._settle, clock, health or Health()
        )
        self._urls: dict[str, Url] = {}
        self._url_listeners: list[tuple[Callable[[str], None], Callable[[str], None]]] = []
        self._provisioned: list[Callable[[FunctionVersion, int], None]] = []
        self._uploads: list[Path] = []  # stored, and about to be referenced
        self._preparations: dict[str, asyncio.Task[None]] = {}  # by generation
        self._doing = PreparationProgress(clock)
        self._commits: set[asyncio.Task[Function | None]] = set()
        self._closing = False

    async def open(self) -> None:
        """Load what exists, and go on with what was being prepared."""
        await self._registry.open()

    async def close(self) -> None:
        """Let changes end. What is not prepared yet is prepared after the next start."""
        self._closing = True
        self._snap_start.close()
        for task in self._preparations.values():
            task.cancel()
        await self.wait_idle()
        await self._retries.close()

    async def wait_idle(self) -> None:
        """Return when no change is under way and nothing is being prepared."""
        while tasks := [*self._preparations.values(), *self._commits, *self._snap_start.tasks]:
            await asyncio.wait(tasks)

    async def wait_briefly(self, function: Function) -> None:
        """Return when a function as it was just changed is prepared, or when that takes longer than a moment.

        Its caller is still answered "Pending", or "InProgress", as Lambda's is; but where the runtime is there already, what the
        caller does next finds it ready.
        """
        task = self._preparations.get(function.latest.generation)
        if task is not None:
            await asyncio.wait([task], timeout=BRIEF_WAIT_S)

    # --- the invoke path ----------------------------------------------------------------------------------------------

    def resolve(self, function: str, qualifier: str | None) -> Route:
        return self._routes.resolve(function, qualifier)

    def on_retired(self, callback: Callable[[str], None]) -> None:
        self._routes.on_retired(callback)

    def account_concurrency(self) -> tuple[int, int]:
        return self._routes.account_concurrency()

    def unreserved_beside(self, name: str) -> int:
        """What the account has left when the provisioned concurrency of all other functions is taken from it."""
        others = (function for function in self._registry if function.name != name and function.reserved is None)
        return self.account_concurrency()[1] - sum(config.requested for each in others for config in each.provisioned.values())

    def is_reserved(self, name: str) -> bool:
        """Whether a function has a reserved concurrency of its own."""
        function = self.get(name)
        return function is not None and function.reserved is not None

    def on_provisioned(self, callback: Callable[[FunctionVersion, int], None]) -> None:
        """Call back with how many environments of a version are to be kept initialised: now, and whenever it was set."""
        self._provisioned.append(callback)
        for function in self._registry:
            for version, count, _ in self._wanted(function).values():
                callback(version, count)

    def on_url(self, added: Callable[[str], None], removed: Callable[[str], None]) -> None:
        """Call back with the id of each function URL: those there are, and whenever one comes or goes."""
        self._url_listeners.append((added, removed))
        for url_id in self._urls:
            added(url_id)

    def lookup(self, url_id: str) -> Url | None:
        """The function URL that has this id."""
        return self._urls.get(url_id)

    @property
    def why_incomplete(self) -> str:
        """Why what functions need is not surely known; empty: it is."""
        damaged = sorted(self._registry.damaged)
        return f"functions whose documents are damaged: {', '.join(damaged[:5])}; what they need is not known" if damaged else ""

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Function | None:
        return self._registry.get(name)

    def find(self, name: str) -> Function:
        """Raises `ResourceNotFound`."""
        return self._registry.find(name)

    def shown(self, function: Function, version: Version) -> Version:
        """A version with what is being done for it at the moment as its reason."""
        return self._doing.show(function, version)

    def __iter__(self) -> Iterator[Function]:
        """In the order of their names."""
        return iter(self._registry)

    def now_ms(self) -> int:
        return int(self._clock.time() * 1000)

    def referenced_code(self) -> set[Path]:
        """The unpacked code that is in use; what else there is in the code store is garbage."""
        return {*self._uploads, *(self._code.place(code.sha256) for code in self._codes() if not code.image)}

    def referenced_images(self) -> set[str]:
        """The digests of the container images that are in use."""
        return {code.sha256 for code in self._codes() if code.image}

    def _codes(self) -> Iterator[Code]:
        for function in self._registry:
            yield function.latest.code
            yield from (version.code for version in function.running())

    def referenced_snapshots(self) -> set[str]:
        """The names of the snapshots that are in use."""
        return {version.snapshot for function in self._registry for version in function.versions.values() if version.snapshot}

    # --- changing -----------------------------------------------------------------------------------------------------

    async def change(self, name: str, change: Callable[[Function], Function]) -> Function:
        """Replace a function by what `change` makes of it. Raises `ResourceNotFound`."""
        return await self._replace(name, lambda old: change(old or self.find(name)))

    async def create(self, name: str, params: Mapping[str, Any]) -> Function:
        """`params` are CreateFunction's; the function is pending, and so is its version 1 if it is published."""
        settings = make_settings(name, params, self._images.known)
        refuse_unsupported(params["Code"])
        await self._check_available(params)
        tags = check_tags(params.get("Tags") or {})
        self._refuse_damaged(name)
        self._refuse_existing(self.get(name))
        code = await self._take_code(params["Code"], settings.package)

        def make(old: Function | None) -> Function:
            self._refuse_existing(old)
            latest = versions.make_latest(settings, code, self.now_ms())
            function = Function(id=new_id(), name=name, arn=self.account_region.arn(name), latest=latest, tags=tags)
            return versions.publish(function) if params.get("Publish") else function

        return await self._replace(name, make, code)

    async def update_code(self, name: str, params: Mapping[str, Any]) -> Function:
        """`params` are UpdateFunctionCode's."""
        function = versions.check_updatable(self.find(name), params.get("RevisionId"))
        check_source(params, function.latest.settings.package)
        refuse_unsupported(params)
        code = await self._take_code(params, function.latest.settings.package)
        if params.get("DryRun"):
            self._release_code(code)
            return replace(function, latest=replace(function.latest, code=code))

        def update(old: Function) -> Function:
            versions.check_updatable(old, params.get("RevisionId"))
            check_source(params, old.latest.settings.package)  # it may be another function of that name by now
            function = versions.update(old, self.now_ms(), code=code)
            return versions.publish(function) if params.get("Publish") else function

        return await self._replace(name, lambda old: update(old or self.find(name)), code)

    async def update_settings(self, name: str, params: Mapping[str, Any]) -> Function:
        """`params` are UpdateFunctionConfiguration's."""

        def update(old: Function) -> Function:
            versions.check_updatable(old, params.get("RevisionId"))
            return versions.update(old, self.now_ms(), settings=change_settings(old.latest.settings, params, self._images.known))

        await self._check_available(params)
        return await self.change(name, update)

    async def _check_available(self, params: Mapping[str, Any]) -> None:
        """A runtime that is known, and that nothing here can run."""
        runtime = params.get("Runtime") or ""
        if self._images.known(runtime) and (reason := await self._images.why_unavailable(runtime)):
            raise InvalidParameterValue(f"The runtime {runtime} cannot run here: {reason}")

    async def delete(self, name: str) -> None:
        """The function with all its versions. The documents of a damaged one are put aside, not removed."""
        if name in self._registry.damaged:
            await self._registry.quarantine(name)
            return
        self.find(name)
        await self._commit(name, lambda old: None, None)

    # --- one change ---------------------------------------------------------------------------------------------------

    async def _take_code(self, given: Mapping[str, Any], package: str) -> Code:
        """The code counts as referenced until the change that is handed it has ended."""
        if package == IMAGE:
            if given.get("ZipFile"):
                raise InvalidParameterValue("Please provide ImageUri only when the intended function PackageType is Image.")
            return await self._find_image(given.get("ImageUri"))
        if not (blob := given.get("ZipFile")):
            raise InvalidParameterValue("Please provide a source for function code.")
        if given.get("ImageUri"):
            raise InvalidParameterValue("Please do not provide other FunctionCode parameters when providing a ZipFile.")
        stored = await self._code.store(blob)
        self._uploads.append(self._code.place(stored.sha256))
        return Code(sha256=stored.sha256, size=stored.size)

    async def _find_image(self, uri: str | None) -> Code:
        """What a tag means is asked once: versions stay with the image they had."""
        if not uri:
            raise InvalidParameterValue("Please provide a source for function code.")
        if self._containers is None:
            raise InvalidParameterValue("PackageType Image is not supported with --isolation process: there is nothing to run an image in")
        try:
            pinned = await self._containers.resolve(uri)
        except ImageError as error:
            raise refusal(uri, error) from None
        return Code(sha256=pinned.digest, size=0, image_uri=uri, image=pinned.image)

    def _release_code(self, code: Code | None) -> None:
        if code is not None and not code.image:
            self._uploads.remove(self._code.place(code.sha256))

    async def _replace(self, name: str, change: Callable[[Function | None], Function], code: Code | None = None) -> Function:
        function = await self._commit(name, change, code)
        assert function is not None
        return function

    async def _commit(self, name: str, change: Change, code: Code | None) -> Function | None:
        """A caller that is cancelled leaves the change to end."""
        task = asyncio.create_task(self._registry.commit(name, change), name=f"change of function {name}")
        self._commits.add(task)

        def end(task: "asyncio.Task[Function | None]") -> None:
            self._commits.discard(task)
            if not task.cancelled():
                task.exception()  # whoever waits has it; nobody may be waiting any more
            self._release_code(code)

        task.add_done_callback(end)
        return await asyncio.shield(task)

    def _on_changed(self, old: Function | None, new: Function | None) -> None:
        """Called at the very moment of every change, and for every function that is loaded."""
        self._routes.changed(old, new)
        self._tell_provisioned(old, new)
        self._snap_start.changed(new)
        self.presence.changed(old, new)
        self._tell_urls(
            {url.id: url for url in old.urls.values()} if old else {}, {url.id: url for url in new.urls.values()} if new else {}
        )
        is_new = new is not None and (old is None or old.latest.generation != new.latest.generation)
        if new is not None and is_new and versions.is_unfinished(new) and not self._closing:
            task = asyncio.create_task(self._prepare(new), name=f"preparation of function {new.name}")
            self._preparations[new.latest.generation] = task
            task.add_done_callback(partial(self._end_preparation, new.latest.generation))

    def _tell_urls(self, old: dict[str, Url], new: dict[str, Url]) -> None:
        for url_id in old.keys() - new.keys():
            del self._urls[url_id]
        self._urls.update(new)
        for added, removed in self._url_listeners:
            for url_id in old.keys() - new.keys():
                removed(url_id)
            for url_id in new.keys() - old.keys():
                added(url_id)

    def _tell_provisioned(self, old: Function | None, new: Function | None) -> None:
        before = self._wanted(old) if old else {}
        after = self._wanted(new) if new else {}
        for key in before.keys() - after.keys():
            self._provision(before[key][0], 0)
        for key, wanted in after.items():
            if key not in before or before[key][1:] != wanted[1:]:
                self._provision(*wanted[:2])

    def _wanted(self, function: Function) -> dict[str, tuple[FunctionVersion, int, int]]:
        """(version, count, when that was set) by `FunctionVersion.key`; one that is not ready yet is not wanted yet."""
        wanted = {}
        for config in function.provisioned.values():
            for number, count in shares(function, config).items():
                version = function.versions[number]
                if count and version.state == "Active":
                    wanted[function.key(version)] = self._routes.target(function, version), count, config.modified_ms
        return wanted

    def _provision(self, version: FunctionVersion, count: int) -> None:
        for callback in self._provisioned:
            callback(version, count)

    def _end_preparation(self, generation: str, task: "asyncio.Task[None]") -> None:
        del self._preparations[generation]
        self._doing.end(generation)

    # --- preparing ----------------------------------------------------------------------------------------------------

    async def _prepare(self, function: Function) -> None:
        try:
            async with asyncio.timeout(PREPARATION_LIMIT_S):
                runtime_arn = await self._prepare_image(function.latest)
        except CodeError as error:
            finish = versions.lose(error.code, str(error))
        except ImageError as error:
            finish = versions.fail(*(failure(error) if function.latest.code.image else ("InvalidRuntime", str(error))))
        except SandboxError as error:
            finish = versions.fail("InternalError", f"The runtime could not be started: {error}")
        except TimeoutError:
            finish = versions.fail("InternalError", f"The runtime was not ready within {PREPARATION_LIMIT_S:.0f} seconds.")
        except Exception:
            log.exception("function %s cannot be prepared", function.name)
            finish = versions.fail("InternalError", "An internal error occurred while the function was prepared.")
        else:
            finish = versions.complete(runtime_arn)

        def apply(now: Function | None) -> Function | None:
            same = now is not None and now.id == function.id and now.latest.generation == function.latest.generation
            return finish(now) if now is not None and same else now

        key, what = f"prepared.{function.latest.generation}", f"Function {function.name} is prepared, but that cannot be stored"
        await self._retries.do(key, what, lambda: self._commit(function.name, apply, None))

    async def _settle_snapshot(self, name: str, number: str, generation: str, apply: Callable[[Function], Function]) -> None:
        key, what = f"snapshot.{generation}", f"The snapshot of {name}:{number} is made, but that cannot be stored"
        await self._retries.do(key, what, lambda: self._commit(name, lambda now: apply(now) if now is not None else None, None))

    async def _settle(self, name: str, apply: Callable[[Function], Function]) -> None:
        await self._commit(name, lambda now: apply(now) if now is not None else None, None)

    async def _prepare_image(self, version: Version) -> str | None:
        """The runtime's ARN, when what the version runs on is there; an image has none. Raises `ImageError`, `CodeError`."""
        progress = self._doing.listen(version.generation)
        if not version.code.image:
            image = await self._images.ensure(version.settings.runtime, progress)
            for error in (await self._code.find({version.code.sha256})).values():
                raise error
            await self._images.prepare_code(self._code.place(version.code.sha256))
            return image.version_arn
        if self._containers is None:
            raise ImageError("--isolation process runs no container images", "unsupported")
        await self._containers.ensure(version.code.image, progress)
        return None

    def _refuse_existing(self, function: Function | None) -> None:
        if function is not None:
            raise ResourceConflict(f"Function already exist: {function.name}")

    def _refuse_damaged(self, name: str) -> None:
        damaged = self._registry.damaged.get(name)
        if damaged is not None:
            raise ResourceConflict(f"Function already exist: {name}. {damaged} DeleteFunction puts it aside and frees the name.")
