"""An environment as `hanabi ps` lists it."""

from typing import Any

from hanabi.fleet.environment import Environment
from hanabi.fleet.lifecycle import State


def describe_environment(environment: Environment, memory_mb: int, now: float) -> dict[str, Any]:
    version = environment.version
    stocked = version is None and environment.state is State.STARTING
    resting = environment.state in (State.IDLE, State.FROZEN)
    return {
        "id": environment.id,
        "function": version.name if version else None,
        "version": version.version if version else None,
        "runtime": environment.image.runtime,
        "type": "provisioned" if environment.provisioned else "on-demand" if version else None,
        "state": "stocked" if stocked else environment.state.value,
        "memory_mb": memory_mb,
        "age_s": round(now - environment.created, 1),
        "idle_s": round(now - environment.idle_since, 1) if resting else None,
        "invocations": environment.invocations,
    }
