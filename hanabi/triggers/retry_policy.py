"""The retry policy of asynchronous events: attempts and delays."""

from dataclasses import dataclass, replace

from hanabi.contracts.functions import EventRules
from hanabi.quotas import EVENT_AGE_MAX_S, EVENT_BACKOFF_MAX_S, EVENT_BACKOFF_MIN_S, EVENT_RETRY_DELAYS_S


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds. `error_delays` are those after function errors: as in Lambda two retries, after 1 minute, then 2."""

    error_delays: tuple[float, ...] = EVENT_RETRY_DELAYS_S
    first_delay_s: float = EVENT_BACKOFF_MIN_S
    longest_delay_s: float = EVENT_BACKOFF_MAX_S
    maximum_age_s: float = EVENT_AGE_MAX_S

    def within(self, rules: EventRules) -> "RetryPolicy":
        """Return it as the rules of a function want it."""
        if rules.retries is None and rules.age_s is None:
            return self
        return replace(
            self,
            error_delays=self.error_delays[: rules.retries],
            maximum_age_s=self.maximum_age_s if rules.age_s is None else rules.age_s,
        )

    def after_error(self, attempt: int) -> float | None:
        """The delay after the function's `attempt`-th error (from 1); None: no further attempt."""
        return self.error_delays[attempt - 1] if attempt <= len(self.error_delays) else None

    def after_refusal(self, refusals: int) -> float:
        """The delay after the `refusals`-th throttle or service error (from 1): doubled each time, up to a bound."""
        return float(min(self.first_delay_s * 2 ** min(refusals - 1, 30), self.longest_delay_s))
