"""Hibernation: environments idle for long are written to disk, take no memory there, and resume when a request comes.

Only with drivers that have snapshots. Hibernated environments end with the server, as all do: the files are in its run directory.
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hanabi.base.clock import Clock
from hanabi.base.health import Health
from hanabi.base.retry import RetryQueue
from hanabi.base.tasks import Tasks
from hanabi.contracts.credentials import CredentialIssuer
from hanabi.contracts.functions import TENANT_MARK
from hanabi.environment.environment import Environment
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.errors import SandboxError
from hanabi.fleet.environments import Environments

FREE_DISK_BYTES = 2 << 30  # kept free on the disk: a mere speed-up must not fill it
HIBERNATE_LIMIT_S = 120.0  # for writing the memory of a large machine
log = logging.getLogger(__name__)


class Hibernation:
    """The hibernated environments. `directory` None: hibernation is off."""

    def __init__(
        self, directory: Path | None, environments: Environments, credentials: CredentialIssuer, clock: Clock, health: Health
    ) -> None:
        self.enabled = directory is not None
        self._directory = directory or Path()
        self._environments = environments
        self._credentials = credentials
        self._removals = RetryQueue(clock, health)
        self._removing = Tasks("hibernation")
        self._by_version: dict[str, list[HibernatedEnvironment]] = {}  # by FunctionVersion.key; the most recently used last

    def has_room(self, memory_mb: int) -> bool:
        """Whether the disk has room for one of this memory, and for more after it."""
        place = self._directory if self._directory.is_dir() else self._directory.parent
        try:
            disk = os.statvfs(place)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= FREE_DISK_BYTES + (memory_mb << 20)

    async def put(self, environment: Environment) -> None:
        """Write an environment that nobody holds to disk. It is discarded afterwards, even on failure."""
        directory = self._directory / environment.id
        try:
            await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True)
            async with asyncio.timeout(HIBERNATE_LIMIT_S):
                hibernated = await environment.hibernate(directory)
        except (OSError, SandboxError, TimeoutError) as error:
            log.warning("environment %s cannot be hibernated, and ends: %s", environment.id, error or "no answer")
            if directory.exists():
                self.remove_files(environment.id, directory)
        else:
            self._by_version.setdefault(hibernated.version.key, []).append(hibernated)
        finally:
            self._environments.discard(environment)

    def take(self, key: str) -> HibernatedEnvironment | None:
        """Take the most recently used one of a version. The caller removes its files."""
        of_version = self._by_version.get(key)
        if not of_version:
            return None
        hibernated = of_version.pop()
        if not of_version:
            del self._by_version[key]
        return hibernated

    def retire(self, key: str) -> None:
        """Drop those of a version, of all its tenants."""
        prefix = key + TENANT_MARK
        for own in [each for each in self._by_version if each == key or each.startswith(prefix)]:
            for hibernated in self._by_version.pop(own):
                self.forget(hibernated)

    def reap(self, now: float, idle_timeout_s: float, max_age_s: float) -> None:
        """Scale to zero: remove those unused for too long."""
        for key, of_version in list(self._by_version.items()):
            for hibernated in [each for each in of_version if now - each.since >= idle_timeout_s or now - each.created >= max_age_s]:
                of_version.remove(hibernated)
                self.forget(hibernated)
            if not of_version:
                del self._by_version[key]

    def forget(self, hibernated: HibernatedEnvironment) -> None:
        """Drop one that will not resume."""
        self._credentials.revoke(hibernated.credentials.access_key)
        self.remove_files(hibernated.id, hibernated.directory)

    def __iter__(self) -> Iterator[HibernatedEnvironment]:
        return iter([hibernated for of_version in self._by_version.values() for hibernated in of_version])

    async def close(self) -> None:
        for key in list(self._by_version):
            self.retire(key)
        await self._removing.join()
        await self._removals.close()

    def remove_files(self, id: str, directory: Path) -> None:
        """Remove the files in the background, off the loop. They are large, so a failed removal is tried again."""
        what, remove = f"The files of the hibernated environment {id} cannot be removed", partial(shutil.rmtree, directory)
        self._removing.spawn(self._removals.do(f"hibernation.{id}", what, partial(asyncio.to_thread, remove)))
