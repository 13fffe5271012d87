"""An environment as `hanabi ps` lists it."""

from typing import Any

from hanabi.environment.environment import Environment
from hanabi.environment.hibernated import Rest
from hanabi.environment.states import State
from hanabi.fleet.budget import Budget


def describe_rest(rest: Rest, now: float) -> dict[str, Any]:
    """One that was put to rest: on disk, in no memory."""
    return {
        "id": rest.id,
        "function": rest.version.name,
        "version": rest.version.version,
        "runtime": rest.version.runtime,
        "type": "on-demand",
        "state": "resting",
        "memory_mb": 0,
        "age_s": round(now - rest.created, 1),
        "idle_s": round(now - rest.since, 1),
        "invocations": rest.invocations,
    }


def describe_budget(budget: Budget, scarce: bool) -> dict[str, Any]:
    """What all environments have, those that are being started or ended included, and may have."""
    environments, memory_mb = budget.used
    return {
        "environments": environments,
        "max_environments": budget.environments,
        "memory_mb": memory_mb,
        "max_memory_mb": budget.memory_mb,
        "memory_is_scarce": scarce,
    }


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
