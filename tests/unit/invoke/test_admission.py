"""Reserved concurrency is a cap and a guarantee; the rest is shared."""

import pytest

from hanabi.contracts.functions import Concurrency
from hanabi.errors import TooManyRequests
from hanabi.invoke.admission import Admission, ProvisionedUse
from hanabi.testing.concurrency import FixedLimits

ACCOUNT, RESERVED = "ConcurrentInvocationLimitExceeded", "ReservedFunctionConcurrentInvocationLimitExceeded"


def reason_of(admission: Admission, concurrency: Concurrency, key: str = "") -> str:
    with pytest.raises(TooManyRequests) as refused:
        admission.enter(concurrency, key)
    return refused.value.reason


def test_what_is_not_reserved_is_shared() -> None:
    admission, one, other = Admission(FixedLimits(2)), Concurrency("one"), Concurrency("other")
    assert admission.enter(one) and admission.enter(other)
    assert reason_of(admission, one) == reason_of(admission, other) == ACCOUNT
    admission.leave(one, True)
    assert admission.enter(other) and admission.running("other") == 2 and admission.running("one") == 0


def test_reserved_is_a_cap_and_a_guarantee() -> None:
    admission, shared, own = Admission(FixedLimits(1)), Concurrency("shared"), Concurrency("own", 2)
    admission.enter(shared)
    assert [admission.enter(own), admission.enter(own)] == [False, False]
    assert reason_of(admission, own) == RESERVED
    assert reason_of(admission, shared) == ACCOUNT
    admission.leave(own, False)
    assert not admission.enter(own)


def test_zero_turns_a_function_off() -> None:
    assert reason_of(Admission(FixedLimits(1000)), Concurrency("off", 0)) == RESERVED


def test_a_refusal_counts_nothing() -> None:
    admission, function = Admission(FixedLimits(1)), Concurrency("f")
    admission.enter(function)
    for _ in range(5):
        reason_of(admission, function)
    admission.leave(function, True)
    assert admission.enter(function)


def test_each_leaves_as_it_entered_whatever_was_set_meanwhile() -> None:
    admission, function = Admission(FixedLimits(1)), Concurrency("f")
    entered = admission.enter(function)
    function.reserved = 1
    assert reason_of(admission, function) == RESERVED
    assert admission.enter(Concurrency("g", 1)) is False  # the shared part is full still
    assert reason_of(admission, Concurrency("h")) == ACCOUNT
    admission.leave(function, entered)
    assert admission.enter(Concurrency("h")) is True
    assert admission.enter(function) is False


# --- provisioned concurrency: as recorded on AWS ------------------------------------------------------------------------


def test_what_is_provisioned_of_a_reservation_is_its_versions_alone() -> None:
    admission, function = Admission(FixedLimits(reserved=["f"])), Concurrency("f", 2)
    admission.provision("f", "1", 1)
    first = admission.enter(function, "1")
    assert isinstance(first, ProvisionedUse) and admission.running("f") == 1
    assert admission.enter(function, "$LATEST") is False
    assert reason_of(admission, function, "$LATEST") == reason_of(admission, function, "1") == RESERVED
    admission.leave(function, first)
    assert isinstance(admission.enter(function, "1"), ProvisionedUse)
    admission.leave(function, False)
    assert admission.enter(function, "1") is False  # spilled over
    used = admission.provisions("f", "1")
    assert (used.served, used.spilled) == (2, 1)


def test_with_all_that_is_reserved_provisioned_nothing_else_runs() -> None:
    admission, function = Admission(FixedLimits(1000)), Concurrency("f", 1)
    assert admission.enter(function, "$LATEST") is False
    admission.leave(function, False)
    admission.provision("f", "1", 1)
    assert reason_of(admission, function, "$LATEST") == RESERVED
    assert isinstance(admission.enter(function, "1"), ProvisionedUse)
    admission.provision("f", "1", None)
    assert admission.enter(function, "$LATEST") is False


def test_what_is_provisioned_is_taken_from_what_all_share_unless_it_is_reserved() -> None:
    limits, other = FixedLimits(5, ["own"]), Concurrency("other")
    admission = Admission(limits)
    admission.provision("f", "1", 2)
    admission.provision("f", "2", 1)
    admission.provision("own", "1", 2)
    assert admission.enter(other, "x") and admission.enter(other, "x")
    assert reason_of(admission, other, "x") == ACCOUNT
    assert isinstance(admission.enter(Concurrency("f"), "1"), ProvisionedUse)
    limits.reserved.add("f")
    assert admission.enter(other, "x") is True


def test_each_leaves_as_it_entered_though_what_was_provisioned_has_gone() -> None:
    admission, function = Admission(FixedLimits(1)), Concurrency("f")
    admission.provision("f", "1", 1)
    entered = admission.enter(function, "1")
    admission.provision("f", "1", 0)
    assert admission.enter(function, "1") is True
    admission.provision("f", "1", None)
    admission.leave(function, entered)
    admission.leave(function, True)
    assert admission.running("f") == 0 and admission.enter(function, "1") is True
