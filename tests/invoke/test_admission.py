"""Reserved concurrency is a cap and a guarantee; the rest is shared."""

import pytest

from hanabi.contracts import Concurrency
from hanabi.errors import TooManyRequests
from hanabi.invoke.admission import Admission

ACCOUNT, RESERVED = "ConcurrentInvocationLimitExceeded", "ReservedFunctionConcurrentInvocationLimitExceeded"


def reason_of(admission: Admission, concurrency: Concurrency) -> str:
    with pytest.raises(TooManyRequests) as refused:
        admission.enter(concurrency)
    return refused.value.reason


def test_what_is_not_reserved_is_shared() -> None:
    admission, one, other = Admission(lambda: 2), Concurrency("one"), Concurrency("other")
    assert admission.enter(one) and admission.enter(other)
    assert reason_of(admission, one) == reason_of(admission, other) == ACCOUNT
    admission.leave(one, True)
    assert admission.enter(other) and admission.running("other") == 2 and admission.running("one") == 0


def test_reserved_is_a_cap_and_a_guarantee() -> None:
    admission, shared, own = Admission(lambda: 1), Concurrency("shared"), Concurrency("own", 2)
    admission.enter(shared)
    assert [admission.enter(own), admission.enter(own)] == [False, False]
    assert reason_of(admission, own) == RESERVED
    assert reason_of(admission, shared) == ACCOUNT
    admission.leave(own, False)
    assert not admission.enter(own)


def test_zero_turns_a_function_off() -> None:
    assert reason_of(Admission(lambda: 1000), Concurrency("off", 0)) == RESERVED


def test_a_refusal_counts_nothing() -> None:
    admission, function = Admission(lambda: 1), Concurrency("f")
    admission.enter(function)
    for _ in range(5):
        reason_of(admission, function)
    admission.leave(function, True)
    assert admission.enter(function)


def test_each_leaves_as_it_entered_whatever_was_set_meanwhile() -> None:
    admission, function = Admission(lambda: 1), Concurrency("f")
    entered = admission.enter(function)
    function.reserved = 1
    assert reason_of(admission, function) == RESERVED
    assert admission.enter(Concurrency("g", 1)) is False  # the shared part is full still
    assert reason_of(admission, Concurrency("h")) == ACCOUNT
    admission.leave(function, entered)
    assert admission.enter(Concurrency("h")) is True
    assert admission.enter(function) is False
