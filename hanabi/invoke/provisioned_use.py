"""The provisioned concurrency of versions and its use, as `hanabi ps` shows it."""

from typing import Any

from hanabi.fleet.fleet import Fleet
from hanabi.invoke.admission import Admission


def describe_provisioned(fleet: Fleet, admission: Admission) -> list[dict[str, Any]]:
    described = []
    for version, requested, allocation in fleet.describe_provisioned():
        used = admission.provisions(version.record_name, version.key)
        described.append(
            {
                "function": version.name,
                "account": version.account,
                "region": version.region,
                "version": version.version,
                "requested": requested,
                "allocated": allocation.allocated,
                "failure": allocation.failure,
                "invocations": used.served,
                "spillover": used.spilled,
            }
        )
    return described
