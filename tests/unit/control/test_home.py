"""The account and region in which a state.db began."""

from hanabi.control.arns import AccountRegion
from hanabi.control.home import find_home
from hanabi.testing.store import MemoryStore

FIRST, LATER = AccountRegion("000000000000", "us-east-1"), AccountRegion("111122223333", "eu-west-1")


async def test_it_stays_what_it_was_at_the_first_start() -> None:
    store = MemoryStore()
    assert await find_home(store, FIRST) == FIRST
    assert await find_home(store, LATER) == FIRST
