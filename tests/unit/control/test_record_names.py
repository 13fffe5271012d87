"""Names in what all accounts and regions share."""

from hanabi.control.arns import AccountRegion
from hanabi.control.record_names import RecordNames, scope_of

HOME = AccountRegion("000000000000", "us-east-1")
OTHER = AccountRegion("111122223333", "eu-west-1")


def test_a_name_is_read_as_it_was_written_whatever_place_it_is_of() -> None:
    names = RecordNames(HOME)
    written = {names.scope(place) + "/aws/lambda/f": place for place in (HOME, OTHER, AccountRegion(HOME.account, OTHER.region))}
    assert len(written) == 3 and "/aws/lambda/f" in written
    for name, place in written.items():
        assert names.split(name) == (place, "/aws/lambda/f")
        assert scope_of(name) == names.scope(place)
