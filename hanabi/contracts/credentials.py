"""The signer of a request, and an environment's session credentials."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """The signer of a request."""

    account: str
    arn: str
    user_id: str
    is_root: bool  # the owner's own key, as against a function's role credentials
    role: str = ""  # ARN of the role whose session it is
    function: str = ""  # ARN of the function in whose environment the credentials are


@dataclass(frozen=True, slots=True)
class Credentials:
    """Session credentials of a role, given to one environment."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)
    expires: float = 0.0  # Unix s


class CredentialIssuer(Protocol):
    def issue(self, role_arn: str, session_name: str, function_arn: str = "") -> Credentials:
        """Issue credentials that are tied to one environment of a function."""

    def revoke(self, access_key: str) -> None: ...
