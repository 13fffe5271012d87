"""The check that code and images of the documents exist: a version without its code or image is Failed with a reason until it is back.

A missing snapshot is made again; its version works without it meanwhile.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.contracts.functions import FunctionVersion
from hanabi.control import versions
from hanabi.control.containers import Containers, failure
from hanabi.control.dependencies import CodeStore, LayerSets
from hanabi.control.functions import Functions
from hanabi.control.model import Function, Version
from hanabi.control.snapstart import Snapshots
from hanabi.errors import CodeError, HanabiError, ImageError, ResourceConflict

ALL_S = 300.0  # between two looks at everything
LOST_S = 15.0  # and at what was not there the last time
_MEND = "Bring that image back, or update the function's code."
log = logging.getLogger(__name__)


class CodePresence:
    """The check. `target` makes the runnable form of a version."""

    def __init__(
        self,
        functions: Functions,
        code: CodeStore,
        layer_sets: LayerSets,
        containers: Containers | None,
        snapshots: Snapshots | None,
        target: Callable[[Function, Version], FunctionVersion],
        clock: Clock,
        health: Health,
    ) -> None:
        self._functions = functions
        self._code = code
        self._layer_sets = layer_sets
        self._containers = containers
        self._snapshots = snapshots
        self._target = target
        self._clock = clock
        self._health = health
        self._lost: set[str] = set()  # names of functions with versions that are
        self._checking = asyncio.Lock()
        functions.listen(self._changed)

    def _changed(self, old: Function | None, new: Function | None) -> None:
        """Report what is missing, and when it is back."""
        lost = [version for version in new.all_versions() if version.lost] if new else []
        if new is not None and lost:
            numbers = ", ".join(version.number for version in lost)
            self._lost.add(new.name)
            self._health.report(f"code of {new.name}", f"Function {new.name} ({numbers}) cannot run: {lost[0].state_reason}")
        elif old is not None and old.name in self._lost:
            self._lost.discard(old.name)
            self._health.clear(f"code of {old.name}")

    async def run(self) -> None:
        """Check missing things often and everything from time to time. Pulls and snapshots run beside that."""
        slow: asyncio.Task[None] | None = None
        next_all = self._clock.monotonic()
        try:
            while True:
                everything = self._clock.monotonic() >= next_all
                if everything:
                    next_all = self._clock.monotonic() + ALL_S
                if slow is None or slow.done():
                    slow = asyncio.create_task(self._guard(self._look_slowly(everything)), name="presence of images")
                await self._guard(self.check(everything=everything))
                await self._clock.sleep(LOST_S)
        finally:
            if slow is not None:
                slow.cancel()
                await asyncio.wait([slow])

    async def _guard(self, look: Coroutine[Any, Any, None]) -> None:
        try:
            await look
        except Exception:
            log.exception("it could not be checked whether all that functions are made of is there; it is tried again in %.0f s", LOST_S)

    async def _look_slowly(self, everything: bool) -> None:
        await self.check_images(everything=everything)
        if everything:
            await self._renew_snapshots()

    async def check(self, name: str | None = None, *, everything: bool = True) -> None:
        """Check the zips, layers included, of one function, of all, or of those with something missing."""
        async with self._checking:
            users = await self._users(name, everything, images=False)
            if users:
                faults = {key: (error.code, str(error)) for key, error in (await self._code.find(users.keys())).items()}
                await self._judge(users, faults)

    async def check_images(self, name: str | None = None, *, everything: bool = True) -> None:
        """Check their images. Missing ones are pulled, and each is settled when its pull ends."""
        containers = self._containers
        if containers is None or not (users := await self._users(name, everything, images=True)):
            return
        missing = await containers.find_missing(users.keys())
        await self._judge({image: names for image, names in users.items() if image not in missing}, {})

        async def pull(image: str) -> None:
            await self._judge({image: users[image]}, await _pull(containers, image))

        await asyncio.gather(*map(pull, missing))

    async def _users(self, name: str | None, everything: bool, *, images: bool) -> dict[str, set[str]]:
        """Map each zip or image to the names of its functions, without blocking the loop for long."""
        users: dict[str, set[str]] = {}
        names = [name] if name is not None else [each.name for each in self._functions] if everything else list(self._lost)
        for number, each in enumerate(names, 1):
            function = self._functions.get(each)
            for version in function.all_versions() if function else ():
                if bool(version.code.image) == images and (version.lost or version.state == "Active"):
                    for key in version.needs:
                        users.setdefault(key, set()).add(each)
            if number % 100 == 0:
                await asyncio.sleep(0)
        return users

    async def _judge(self, users: Mapping[str, set[str]], faults: dict[str, tuple[str, str]]) -> None:
        names = {name for key in faults for name in users[key]} | self._lost
        judge = versions.apply_faults(users.keys(), faults)
        for name in sorted(names):
            function = self._functions.get(name)
            if function is not None and judge(function) is not function:
                await self._functions.update(name, judge)

    async def require(self, version: FunctionVersion) -> None:
        """Raise `ResourceConflict` when a version's zip is missing, before an environment is started. Cheap when it exists."""
        for directory in (version.code, version.opt):
            if directory is not None and not os.access(directory, os.R_OK | os.X_OK):
                await self.refuse(version)

    async def refuse(self, version: FunctionVersion) -> None:
        """Check a version of which something was not found; raise `ResourceConflict` unless it could be fixed."""
        await (self.check(version.name) if version.container is None else self.check_images(version.name))
        function = self._functions.get(version.name)
        for each in function.all_versions() if function else ():
            if function and function.key(each) == version.key:
                versions.check_active(each)
                if each.settings.layers:
                    try:
                        await self._layer_sets.ensure(each.settings.layer_hashes)
                    except CodeError as error:
                        raise ResourceConflict(f"The operation cannot be performed at this time. {error}") from None

    async def _renew_snapshots(self) -> None:
        snapshots = self._snapshots
        if snapshots is None or snapshots.missing:
            return
        wanted = {v.snapshot: (each, v) for each in self._functions for v in each.versions.values() if v.snapshot and v.state == "Active"}
        for name in await snapshots.find_missing(wanted.keys()) if wanted else ():
            function, version = wanted[name]
            key = f"snapshot of {function.name}:{version.number}"
            self._health.report(key, f"The {key} is not there: it starts without it until it is made again")
            try:
                await snapshots.take(self._target(function, version))  # under the same name
            except HanabiError as error:
                self._health.report(key, f"The {key} is not there, it starts without it, and it cannot be made again: {error}")
            else:
                self._health.clear(key)


async def _pull(containers: Containers, image: str) -> dict[str, tuple[str, str]]:
    """Pull an image. Returns why it failed, if so."""
    try:
        await containers.ensure(image)
    except ImageError as error:
        code, reason = failure(error)
        return {image: (code, f"{reason} {_MEND}")}
    except HanabiError as error:
        return {image: ("InternalError", f"The image cannot be used: {error}. {_MEND}")}
    return {}
