"""Environments written to disk: what has been idle for long takes no memory, and goes on where it was when a request comes.

Only where sandboxes have snapshots. What is here dies with the server, as environments do: the files lie in its run directory.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import Retrying
from hanabi.contracts.credentials import CredentialIssuer
from hanabi.environment.environment import Environment
from hanabi.environment.hibernated import Rest
from hanabi.errors import SandboxError
from hanabi.fleet.idle import Idle

LEFT_ON_DISK = 2 << 30  # bytes, for everybody else: what is only faster must not fill a disk
REST_LIMIT_S = 120.0  # for the memory of a large machine to reach the disk
log = logging.getLogger(__name__)


class Resting:
    """`directory` None: nothing is ever put to rest here."""

    def __init__(self, directory: Path | None, idle: Idle, clock: Clock, credentials: CredentialIssuer, health: Health) -> None:
        self.enabled = directory is not None
        self._directory = directory or Path()
        self._idle = idle
        self._clock = clock
        self._credentials = credentials
        self._removals = Retrying(clock, health)
        self._removing: set[asyncio.Task[None]] = set()
        self._rests: dict[str, list[Rest]] = {}  # by FunctionVersion.key; the most recently used last

    def has_room(self, memory_mb: int) -> bool:
        """Whether the disk has room for one with so much memory, and for others after it."""
        place = self._directory if self._directory.is_dir() else self._directory.parent
        try:
            disk = os.statvfs(place)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= LEFT_ON_DISK + (memory_mb << 20)

    async def put(self, environment: Environment, discard: Callable[[Environment], None]) -> None:
        """Write an idle environment to disk. It is nobody's meanwhile, and is discarded afterwards, whatever came of it."""
        self._idle.remove(environment)
        directory = self._directory / environment.id
        try:
            await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True)
            async with asyncio.timeout(REST_LIMIT_S):
                rest = await environment.put_to_rest(directory)
        except (OSError, SandboxError, TimeoutError) as error:
            log.warning("environment %s cannot be put to rest, and ends: %s", environment.id, error or "no answer")
            if directory.exists():
                self.remove_files(environment.id, directory)
        else:
            self._rests.setdefault(rest.version.key, []).append(rest)
        finally:
            discard(environment)

    def take(self, key: str) -> Rest | None:
        """The one last used. Its files are the taker's to remove."""
        rests = self._rests.get(key)
        if not rests:
            return None
        rest = rests.pop()
        if not rests:
            del self._rests[key]
        return rest

    def retire(self, key: str) -> None:
        for rest in self._rests.pop(key, ()):
            self.forget(rest)

    def reap(self, now: float, idle_timeout_s: float, max_age_s: float) -> None:
        """Scale to zero: what nobody asks for goes."""
        for key, rests in list(self._rests.items()):
            for rest in [each for each in rests if now - each.since >= idle_timeout_s or now - each.created >= max_age_s]:
                rests.remove(rest)
                self.forget(rest)
            if not rests:
                del self._rests[key]

    def forget(self, rest: Rest) -> None:
        """It will not come back."""
        self._credentials.revoke(rest.credentials.access_key)
        self.remove_files(rest.id, rest.directory)

    def __iter__(self) -> Iterator[Rest]:
        return iter([rest for rests in self._rests.values() for rest in rests])

    async def close(self) -> None:
        for key in list(self._rests):
            self.retire(key)
        while self._removing:
            await asyncio.wait(self._removing)
        await self._removals.close()

    def remove_files(self, id: str, directory: Path) -> None:
        """Off the loop, and not waited for: nobody looks there again. Files that cannot be removed are tried again: they are large."""
        what, remove = f"The files of environment {id}, which was at rest, cannot be removed", partial(shutil.rmtree, directory)
        removing = self._removals.do(f"rest.{id}", what, partial(asyncio.to_thread, remove))
        task = asyncio.get_running_loop().create_task(removing)
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
