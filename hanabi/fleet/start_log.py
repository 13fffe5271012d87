"""One log line for each start of an environment: of what, how long it took, and whether it came from the pool."""

import logging

from hanabi.environment.environment import Environment

POOL_HIT, FROM_SNAPSHOT, RESUMED = "pool hit", "from its snapshot", "from hibernation"  # else what an environment says of itself
log = logging.getLogger(__name__)


def log_start(environment: Environment, took_s: float) -> None:
    """Log a start that is ready. The time is from the request on: waiting for room and for the runtime included."""
    version = environment.version
    if version is not None:
        kind = "provisioned start" if environment.provisioned else "cold start"
        if environment.snap_start and environment.origin != FROM_SNAPSHOT:
            kind = "start for a snapshot"
        log.info("%s of %s:%s: %.0f ms, %s", kind, version.name, version.version, took_s * 1000, environment.origin)
