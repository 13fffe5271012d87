"""Reserved concurrency of a function, within the account's limit."""

from dataclasses import replace

from hanabi.control.model import Function
from hanabi.errors import UntypedInvalidParameterValue
from hanabi.quotas import UNRESERVED_CONCURRENCY_MIN


def reserve(function: Function, reserved: int | None, unreserved: int) -> Function:
    """Set it. `unreserved` is what the account has left after other functions' provisioned concurrency, without this function's share."""
    if reserved is not None and unreserved + (function.reserved or 0) - reserved < UNRESERVED_CONCURRENCY_MIN:
        raise UntypedInvalidParameterValue(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            f"below its minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )
    provisioned = sum(config.requested for config in function.provisioned.values())
    if reserved is not None and reserved < provisioned:
        raise UntypedInvalidParameterValue(  # spaces and all, as recorded
            f" ReservedConcurrentExecutions  {reserved} should not be lower than function's total provisioned concurrency [{provisioned}]."
        )
    return function if reserved == function.reserved else replace(function, reserved=reserved)
