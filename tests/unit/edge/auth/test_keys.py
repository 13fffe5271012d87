"""Whose session an environment's credentials are."""

from pathlib import Path

import pytest

from hanabi.edge.auth.keys import KeyRing
from hanabi.testing import ManualClock


@pytest.mark.parametrize(("function", "session"), [("f", "f@lambda_function"), ("zz", "zz"), ("G" * 64, "G" * 64)])
def test_the_session_of_a_function_has_its_name(tmp_path: Path, function: str, session: str) -> None:
    """As recorded on AWS: a session's name has two characters at least, so a shorter one is lengthened."""
    keys = KeyRing.open(tmp_path / "keys.json", region="us-east-1", account="0" * 12, clock=ManualClock())
    issued = keys.issue("arn:aws:iam::000000000000:role/service-role/deep/r", function)
    key = keys.lookup(issued.access_key)
    assert key is not None and key.principal.arn == f"arn:aws:sts::000000000000:assumed-role/r/{session}"
    assert key.principal.user_id.partition(":")[2] == session
