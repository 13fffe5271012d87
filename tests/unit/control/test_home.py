"""The account and region in which a state.db began."""

import sqlite3

from hanabi.control.arns import AccountRegion
from hanabi.control.home import find_home
from hanabi.control.migrations import move_home
from hanabi.testing.store import MemoryStore

FIRST, LATER = AccountRegion("000000000000", "us-east-1"), AccountRegion("111122223333", "eu-west-1")


async def test_it_stays_what_it_was_at_the_first_start() -> None:
    store = MemoryStore()
    assert await find_home(store, FIRST) == FIRST
    assert await find_home(store, LATER) == FIRST


def test_the_documents_of_before_are_moved_below_their_account_and_region_whatever_their_names() -> None:
    keys = [
        "functions/iam",
        "functions/node",
        "versions/iam/1",
        "layers/quarantine",
        "iam/role/functions",
        "node/identity",
        "quarantine/3/functions/f",
    ]
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE documents (key TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO documents VALUES (?)", [(key,) for key in keys])
        move_home(LATER)(connection)
        moved = {row[0] for row in connection.execute("SELECT key FROM documents")}
    connection.close()
    place = "111122223333/eu-west-1/"
    assert moved == {
        *(f"{place}{key}" for key in keys[:4]),
        "111122223333/iam/role/functions",
        "node/identity",
        "quarantine/3/functions/f",
    }
