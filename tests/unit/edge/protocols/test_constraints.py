"""The order in which messages list enumerations."""

import pytest

from hanabi.edge.protocols.constraints import as_listed


@pytest.mark.parametrize(
    ("in_the_model", "recorded"),
    [
        ("TRIM_HORIZON LATEST AT_TIMESTAMP", "LATEST AT_TIMESTAMP TRIM_HORIZON"),  # lambda, EventSourcePosition
        ("BUFFERED RESPONSE_STREAM", "RESPONSE_STREAM BUFFERED"),  # lambda, InvokeMode
        ("POST GET HEAD OPTIONS PUT PATCH DELETE", "HEAD POST PATCH DELETE PUT GET OPTIONS"),  # events; HEAD and POST share a bucket
        ("json plain w3c raw parquet", "w3c raw json plain parquet"),  # logs, OutputFormat
    ],
)
def test_enumerations_are_listed_in_the_order_of_aws(in_the_model: str, recorded: str) -> None:
    assert as_listed(in_the_model.split()) == recorded.split()
