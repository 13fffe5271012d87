"""Retry policies: what a function's own rules change."""

from hanabi.contracts.functions import EventRules
from hanabi.triggers.retry_policy import RetryPolicy


def test_rules_bound_retries_and_age() -> None:
    policy = RetryPolicy(error_delays=(60, 120), maximum_age_s=1000)
    assert policy.within(EventRules()) is policy
    assert policy.within(EventRules(retries=0)).error_delays == ()
    assert policy.within(EventRules(retries=1)) == RetryPolicy(error_delays=(60,), maximum_age_s=1000)
    assert policy.within(EventRules(retries=2, age_s=60)) == RetryPolicy(error_delays=(60, 120), maximum_age_s=60)
    assert policy.within(EventRules(age_s=60)).error_delays == (60, 120)
