"""Fake credentials, which grant nothing."""

import uuid

from hanabi.contracts.credentials import Credentials


class CountingIssuer:
    """A `contracts.CredentialIssuer` that records which access keys are issued."""

    def __init__(self) -> None:
        self.issued: set[str] = set()

    def issue(self, role_arn: str, session_name: str, function_arn: str = "") -> Credentials:
        key = f"ASIA{uuid.uuid4().hex[:16].upper()}"
        self.issued.add(key)
        return Credentials(key, "secret", "token")

    def revoke(self, access_key: str) -> None:
        self.issued.discard(access_key)
