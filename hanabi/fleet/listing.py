"""Rows about environments, as `hanabi ps` lists them."""

from typing import Any

from hanabi.environment.environment import Environment
from hanabi.environment.hibernated import HibernatedEnvironment
from hanabi.environment.states import Phase
from hanabi.fleet.budget import Budget


def describe_hibernated(hibernated: HibernatedEnvironment, now: float) -> dict[str, Any]:
    """Describe a hibernated environment: on disk, not in memory."""
    return {
        "id": hibernated.id,
        "function": hibernated.version.name,
        "account": hibernated.version.account,
        "region": hibernated.version.region,
        "version": hibernated.version.version,
        "tenant": hibernated.version.tenant or None,
        "runtime": hibernated.version.runtime,
        "type": "snap-start" if hibernated.snap_start else "on-demand",
        "state": "hibernated",
        "memory_mb": 0,
        "age_s": round(now - hibernated.created, 1),
        "idle_s": round(now - hibernated.since, 1),
        "invocations": hibernated.invocations,
    }


def describe_budget(budget: Budget, scarce: bool) -> dict[str, Any]:
    """Describe the budget: in use (environments being started or ended included) and in total."""
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
    pooled = version is None and environment.state.phase is Phase.STARTING
    is_idle = environment.state.phase is Phase.IDLE
    return {
        "id": environment.id,
        "function": version.name if version else None,
        "account": version.account if version else None,
        "region": version.region if version else None,
        "version": version.version if version else None,
        "tenant": (version.tenant or None) if version else None,
        "runtime": environment.image.runtime,
        "type": _type(environment),
        "state": "pooled" if pooled else environment.state.shown,
        "memory_mb": memory_mb,
        "age_s": round(now - environment.created, 1),
        "idle_s": round(now - environment.idle_since, 1) if is_idle else None,
        "invocations": environment.invocations,
    }


def _type(environment: Environment) -> str | None:
    """Return how it was initialised, in the words of AWS_LAMBDA_INITIALIZATION_TYPE, or nearly."""
    if environment.version is None:
        return None
    return "provisioned" if environment.provisioned else "snap-start" if environment.snap_start else "on-demand"
