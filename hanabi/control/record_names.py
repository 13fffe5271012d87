"""Names of functions and log groups in what all accounts and regions of a node share: the journal, the event queue, the metrics.

The node's home is the account and region in which its data directory began. Its names are there as they are, those of other places
after `<account>:<region>:`, the scope: a function's or a group's own name has no colon.
"""

from dataclasses import dataclass

from hanabi.control.arns import AccountRegion


@dataclass(frozen=True, slots=True)
class RecordNames:
    home: AccountRegion

    def scope(self, place: AccountRegion) -> str:
        """Return what precedes the names of an account and region."""
        return "" if place == self.home else f"{place.account}:{place.region}:"

    def split(self, name: str) -> tuple[AccountRegion, str]:
        """Return (account and region, own name)."""
        account, region, own = name.split(":", 2) if ":" in name else (self.home.account, self.home.region, name)
        return AccountRegion(account, region), own


def scope_of(name: str) -> str:
    """Return the scope of a name in the record."""
    return name[: name.rfind(":") + 1]
