"""The credentials of one environment: issued when it gets its function, served to holders of its token, valid on its AWS endpoint."""

import hmac
import secrets

from hanabi.base.clock import Clock
from hanabi.contracts.credentials import Credentials
from hanabi.contracts.functions import FunctionVersion
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.shared import Closable, SharedServices
from hanabi.environment.states import EnvironmentState
from hanabi.environment.variables import credentials_document
from hanabi.errors import SandboxError

SNAPSHOT_CREDENTIALS_S = 300.0  # lifetime of credentials fetched before a snapshot: they must be fetched again after it


class EnvironmentCredentials:
    """At most one pair of keys, and the server of the AWS endpoint inside the sandbox."""

    def __init__(self, sandbox: Sandbox, shared: SharedServices, state: EnvironmentState) -> None:
        self._sandbox = sandbox
        self._shared = shared
        self._clock: Clock = shared.clock
        self._state = state
        self._current: Credentials | None = None
        self._edge: Closable | None = None
        self.token = secrets.token_urlsafe(32)  # for who fetches them
        self.in_clone = False  # only for snapshots: credentials fetched now are not in one

    async def issue(self, version: FunctionVersion) -> Credentials:
        """Issue credentials for a function. Raises `SandboxError` when the environment has ended meanwhile."""
        return await self._attach(self._shared.credentials.issue(version.role, version.name, version.arn))

    async def take_over(self, credentials: Credentials, token: str) -> None:
        """Take over those of a hibernated environment, which its processes have. Raises as `issue`."""
        self.token = token
        await self._attach(credentials)

    def hand_over(self) -> Credentials:
        """Hand the credentials to the environment that resumes this one: they are not revoked here."""
        credentials, self._current = self._current, None
        assert credentials is not None
        return credentials

    def find(self, token: str) -> dict[str, str] | None:
        """Return current credentials of a SnapStart function, for a holder of the token."""
        if self._current is None or not hmac.compare_digest(token.encode(), self.token.encode()):
            return None
        expires = self._current.expires if self.in_clone else self._clock.time() + SNAPSHOT_CREDENTIALS_S
        return credentials_document(self._current, expires)

    def revoke(self) -> None:
        if self._current is not None:
            self._shared.credentials.revoke(self._current.access_key)

    async def close(self) -> None:
        edge, self._edge = self._edge, None
        if edge is not None:
            await edge.close()

    async def _attach(self, credentials: Credentials) -> Credentials:
        self._current = credentials
        edge = await self._shared.attach_edge(self._sandbox.edge, credentials.access_key)
        if self._state.ended:
            await edge.close()
            raise SandboxError(f"environment {self._sandbox.id} has gone")
        self._edge = edge
        return credentials
