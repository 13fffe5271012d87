"""When an event is tried again. The settings a function can have (retries, maximum age) will be another object of this shape."""

from dataclasses import dataclass

from hanabi.quotas import EVENT_AGE_MAX_S, EVENT_BACKOFF_MAX_S, EVENT_BACKOFF_MIN_S, EVENT_RETRY_DELAYS_S


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays in seconds. `error_delays` says how often a failed function is tried again, and when: as Lambda, after 1 minute, then 2."""

    error_delays: tuple[float, ...] = EVENT_RETRY_DELAYS_S
    first_delay_s: float = EVENT_BACKOFF_MIN_S
    longest_delay_s: float = EVENT_BACKOFF_MAX_S
    maximum_age_s: float = EVENT_AGE_MAX_S

    def after_error(self, attempt: int) -> float | None:
        """The function failed for the `attempt`-th time (from 1): the delay until the next attempt, None for none."""
        return self.error_delays[attempt - 1] if attempt <= len(self.error_delays) else None

    def after_refusal(self, refusals: int) -> float:
        """It was throttled, or the service failed, for the `refusals`-th time (from 1): twice as long each time, up to a bound."""
        return float(min(self.first_delay_s * 2 ** min(refusals - 1, 30), self.longest_delay_s))
