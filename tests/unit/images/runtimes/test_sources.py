"""The choice of where runtimes come from."""

from hanabi.images.runtimes.sources import PENDING, RuntimeSources


def test_what_is_laxer_than_aws_is_said() -> None:
    assert RuntimeSources().laxer() == []
    said = RuntimeSources(missing=PENDING, substitutes={"python3.12": "python3.13"}).laxer()
    assert said[0] == "functions of python3.12 run on python3.13 (--runtime-substitute)" and "Pending" in said[1]
