"""The signer of a request, and an environment's session credentials."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Session:
    """What temporary credentials were asked for with."""

    issued: float  # Unix s
    policies: tuple[Mapping[str, Any], ...] | None = field(default=None, compare=False)  # session policies; None: none were passed
    tags: tuple[tuple[str, str], ...] = ()
    transitive: frozenset[str] = frozenset()  # keys of tags that go on to the next role of a chain, in lower case
    source_identity: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """The signer of a request: the owner, a user, or a session of a role, a user or the owner."""

    account: str
    arn: str
    user_id: str
    is_root: bool  # the owner's own key, as against those of users and roles
    role: str = ""  # ARN of the role whose session it is
    function: str = ""  # ARN of the function in whose environment the credentials are
    user: str = ""  # ARN of the user that it is, or whose policies a federated user has; of the owner, if he federated it
    session: Session | None = None  # of temporary credentials


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
