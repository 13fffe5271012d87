"""Sessions of AssumeRole: who asks for too many loses their own, never another's."""

from pathlib import Path

import pytest

from hanabi.contracts.credentials import Principal
from hanabi.edge.auth.keys import KeyRing, session_principal
from hanabi.edge.auth.sessions import CLEAN_INTERVAL_S, SESSIONS_MAX, SESSIONS_PER_CALLER, Throttling
from hanabi.testing import ManualClock

ADMIN = "arn:aws:iam::000000000000:role/admin"


def role(name: str, session: str = "s") -> Principal:
    return session_principal(f"arn:aws:iam::000000000000:role/{name}", session)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(tmp_path: Path, clock: ManualClock) -> KeyRing:
    return KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=clock)


def test_a_flood_ends_only_the_floods_own_sessions(keys: KeyRing) -> None:
    owners = keys.assume(ADMIN, "mine", 3600, keys.root.principal)
    others = keys.assume(ADMIN, "theirs", 3600, role("quiet"))
    environment = keys.issue(ADMIN, "environment")
    flood = [keys.assume(ADMIN, "x", 3600, role("flood", f"session-{number}")) for number in range(SESSIONS_PER_CALLER + 500)]
    assert all(keys.lookup(each.access_key) for each in (owners, others, environment, *flood[500:]))
    assert not any(keys.lookup(each.access_key) for each in flood[:500])
    several = [keys.assume(ADMIN, "x", 3600, role(f"flood-{number}")) for number in range(3) for _ in range(SESSIONS_PER_CALLER + 1)]
    assert keys.lookup(owners.access_key) and keys.lookup(others.access_key) and keys.lookup(several[-1].access_key)


async def test_all_roles_together_are_bounded_and_the_owner_is_not_among_them(keys: KeyRing, clock: ManualClock) -> None:
    first = keys.assume(ADMIN, "x", 3600, role("quiet"))
    for number in range(SESSIONS_MAX // SESSIONS_PER_CALLER):
        for _ in range(SESSIONS_PER_CALLER - (number == 0)):
            keys.assume(ADMIN, "x", 60, role(f"flood-{number}"))
    with pytest.raises(Throttling, match="Rate exceeded"):
        keys.assume(ADMIN, "x", 60, role("new"))
    assert keys.assume(ADMIN, "x", 60, keys.root.principal)
    second = keys.assume(ADMIN, "x", 3600, role("quiet"))  # at the bound, its own oldest goes
    assert keys.lookup(second.access_key) and not keys.lookup(first.access_key)
    await clock.advance(61 + CLEAN_INTERVAL_S)
    assert keys.assume(ADMIN, "x", 60, role("new"))  # what has expired is out of the way
    assert keys.lookup(second.access_key)
