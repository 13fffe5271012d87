"""Preparation: a new or updated function is pending until its runtime and code are ready."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.control import versions
from hanabi.control.containers import Containers, failure
from hanabi.control.dependencies import CodeStore, LayerSets, Runtimes
from hanabi.control.functions import Functions
from hanabi.control.model import Function, Version
from hanabi.control.preparation_progress import PreparationProgress
from hanabi.control.recent_updates import RecentUpdates
from hanabi.control.runtime_management import check_pin, runtime_arn
from hanabi.errors import CodeError, ImageError, SandboxError

LIMIT_S = 3600.0  # of a runtime image that is built at first use
LOOK_AGAIN_S = 60.0  # for a runtime that was not to be had, and whose functions stay pending
BRIEF_WAIT_S = 1.0  # for a caller that gets "Pending" but will likely go on as if it were "Active"
log = logging.getLogger(__name__)


class Preparation:
    """The preparation. Begins by itself with what is unfinished. `close` it before the registry."""

    def __init__(
        self,
        functions: Functions,
        code: CodeStore,
        layer_sets: LayerSets,
        runtimes: Runtimes,
        containers: Containers | None,
        clock: Clock,
        health: Health,
        recent: RecentUpdates,
    ) -> None:
        self._functions = functions
        self._code = code
        self._layer_sets = layer_sets
        self._runtimes = runtimes
        self._containers = containers
        self._retries = RetryQueue(clock, health)
        self._clock = clock
        self._recent = recent
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by generation
        self._progress = PreparationProgress(clock)
        self._closing = False
        functions.listen(self._changed)

    async def close(self) -> None:
        """Stop. The rest is prepared after the next start."""
        self._closing = True
        for task in self._under_way.values():
            task.cancel()
        while tasks := self.tasks:
            await asyncio.wait(tasks)
        await self._retries.close()

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        return list(self._under_way.values())

    async def wait_briefly(self, function: Function) -> None:
        """Wait until a function's latest change is prepared, but only briefly.

        The caller still gets "Pending" or "InProgress", as on Lambda. But when the runtime exists already, the caller's next call
        finds the function ready.
        """
        task = self._under_way.get(function.latest.generation)
        if task is not None:
            await asyncio.wait([task], timeout=BRIEF_WAIT_S)

    def shown(self, function: Function, version: Version) -> Version:
        """Return a version with its preparation's progress as the reason, and its runtime if that is known by now."""
        shown = self._progress.show(function, self._recent.show(function, version))
        now = self._functions.get(function.name)
        if shown.runtime_arn is None and now is not None and now.latest.settings.runtime == version.settings.runtime:
            return replace(shown, runtime_arn=now.latest.runtime_arn)
        return shown

    def _changed(self, old: Function | None, new: Function | None) -> None:
        is_new = new is not None and (old is None or old.latest.generation != new.latest.generation)
        if new is not None and is_new and versions.is_unfinished(new) and not self._closing:
            generation = new.latest.generation
            task = self._under_way[generation] = asyncio.create_task(self._prepare(new), name=f"preparation of function {new.name}")
            task.add_done_callback(partial(self._end, generation))

    def _end(self, generation: str, task: "asyncio.Task[None]") -> None:
        del self._under_way[generation]
        self._progress.end(generation)

    async def _prepare(self, function: Function) -> None:
        if not await self._await_runtime(function):
            return
        finish = await self._outcome(function)

        def apply(now: Function) -> Function:
            same = now.id == function.id and now.latest.generation == function.latest.generation
            return finish(now) if same and versions.is_unfinished(now) else now

        key, what = f"prepared.{function.latest.generation}", f"Function {function.name} is prepared, but that cannot be stored"
        await self._retries.do(key, what, lambda: self._functions.update(function.name, apply))

    async def _await_runtime(self, function: Function) -> bool:
        """Wait while the runtime is not to be had and its functions are to stay pending; False: the function is another one by now."""
        while reason := await self._why_pending(function.latest):
            self._progress.wait(function.latest.generation, reason)
            await self._clock.sleep(LOOK_AGAIN_S)
            now = self._functions.get(function.name)
            if now is None or now.id != function.id or now.latest.generation != function.latest.generation:
                return False
        return True

    async def _why_pending(self, version: Version) -> str:
        return "" if version.code.image else await self._runtimes.why_pending(version.settings.runtime)

    async def _outcome(self, function: Function) -> Callable[[Function], Function]:
        try:
            async with asyncio.timeout(LIMIT_S):
                return versions.complete(await self._make_ready(function.latest))
        except CodeError as error:
            return versions.lose(error.code, str(error))
        except ImageError as error:
            return versions.fail(*(failure(error) if function.latest.code.image else ("InvalidRuntime", str(error))))
        except SandboxError as error:
            return versions.fail("InternalError", f"The runtime could not be started: {error}")
        except TimeoutError:
            return versions.fail("InternalError", f"The runtime was not ready within {LIMIT_S:.0f} seconds.")
        except Exception:
            log.exception("function %s cannot be prepared", function.name)
            return versions.fail("InternalError", "An internal error occurred while the function was prepared.")

    async def _make_ready(self, version: Version) -> str | None:
        """Make what a version needs ready; returns the runtime's ARN, none for an image. Raises `ImageError`, `CodeError`."""
        progress = self._progress.listen(version.generation)
        if not version.code.image:
            image = await self._runtimes.ensure(version.settings.runtime, progress)
            for error in (await self._code.find(set(version.code_hashes))).values():
                raise error
            await self._runtimes.prepare_code(self._code.place(version.code.sha256))
            if version.settings.layers:
                await self._runtimes.prepare_code(await self._layer_sets.ensure(version.settings.layer_hashes))
            check_pin(version, image.version_arn)
            return runtime_arn(self._functions.account_region, image.version_arn)
        if self._containers is None:
            raise ImageError("--isolation process runs no container images", "unsupported")
        await self._containers.ensure(version.code.image, progress)
        return None
