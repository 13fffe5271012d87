"""The settings of the fleet: how many environments, how long they are kept, the size of the pool."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """The settings, from the options of `hanabi up`."""

    max_environments: int
    max_memory_mb: int  # of all environments together
    pool_size: int = 2  # pooled environments of each runtime image in use
    idle_timeout_s: float = 600.0  # then an environment ends
    trim_after_s: float = 30.0  # idle: then it gives memory back
    hibernate_after_s: float = 300.0  # idle: then it is written to disk
    hibernate_to: Path | None = None  # None, or a driver without snapshots: none is hibernated
