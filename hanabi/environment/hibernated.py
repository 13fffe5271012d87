"""A hibernated environment: what is kept in memory of one that is on disk."""

from dataclasses import dataclass
from pathlib import Path

from hanabi.contracts.credentials import Credentials
from hanabi.contracts.functions import FunctionVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class HibernatedEnvironment:
    """A hibernated environment. Its credentials stay valid, as its processes have them."""

    id: str
    version: FunctionVersion
    directory: Path
    stream: str
    credentials: Credentials
    token: str
    snap_start: bool
    invocations: int
    created: float
    since: float  # when it was last used
