"""The home of a state.db: the account and region in which it began. It stays the same whatever a later start has for its default."""

from hanabi.contracts.store import Store
from hanabi.control.arns import AccountRegion

DOCUMENT = "node/home"


async def find_home(store: Store, first: AccountRegion) -> AccountRegion:
    """Return the home; at the first start it is `first`. Raises `DocumentDamaged`."""
    found = await store.get(DOCUMENT)
    if found is None:
        await store.put(DOCUMENT, {"account": first.account, "region": first.region})
        return first
    return AccountRegion(str(found[0]["account"]), str(found[0]["region"]))
