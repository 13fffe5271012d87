"""Policies of layer versions; AWS's words are tested through the API in tests/unit/services/lambda_/test_layers.py."""

import json

import pytest

from hanabi.control.layers.layer_policies import add_statement, find_policy, remove_statement, statement_text
from hanabi.control.layers.model import LayerVersion
from hanabi.errors import PolicyLengthExceeded, ResourceNotFound

VERSION = LayerVersion(number=1, sha256="", size=1, unzipped_size=2, created_ms=3)
ARN = "arn:aws:lambda:us-east-1:000000000000:layer:a:1"
PARAMS = {"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*"}


def test_a_statement_comes_and_goes() -> None:
    shared = add_statement(VERSION, ARN, PARAMS)
    assert json.loads(statement_text(shared, "s"))["Resource"] == ARN
    assert find_policy(shared)[1] == shared.policy_revision != ""
    gone = remove_statement(shared, "s", shared.policy_revision)
    assert gone.policy == () and gone.policy_revision != shared.policy_revision
    with pytest.raises(ResourceNotFound):
        find_policy(gone)


def test_a_policy_is_bounded() -> None:
    version = VERSION
    with pytest.raises(PolicyLengthExceeded):
        for number in range(1_000):
            version = add_statement(version, ARN, {**PARAMS, "StatementId": f"s{number}"})
