"""Page tokens."""

import pytest

from hanabi.ledger.log_errors import InvalidParameter
from hanabi.services.logs.tokens import read_name, read_position, sequence_token, write_name, write_position


def test_tokens_are_read_as_they_were_written() -> None:
    for name in ("", "a/b", "2026/11/29/[$LATEST]ü"):
        assert read_name(write_name(name)) == name
    for position, backward in (((1, 2, 3), True), ((10**14, 10**19, 0), False)):
        assert read_position(write_position(position, backward)) == (backward, position)
    assert write_position((1, 2, 3), True).startswith("b/3") and len(write_position((1, 2, 3), False)) == 60


def test_others_are_refused() -> None:
    for token in ("", "invalid-token", "n/" + "3" * 56 + "/s", "f/" + "9" * 56 + "/s", "f/3/s", "f/" + "3" * 56):
        with pytest.raises(InvalidParameter):
            read_position(token)
    for token in ("ä", "a", "////", "_w=="):
        with pytest.raises(InvalidParameter):
            read_name(token)


def test_sequence_tokens_have_56_digits() -> None:
    assert {len(sequence_token(stream, at)) for stream, at in ((1, 0), (10**9, 10**13))} == {56}
