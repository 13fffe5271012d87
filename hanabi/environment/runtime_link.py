"""The link to a runtime: the runtime channel and the Runtime API, with one session behind both."""

import os
import socket
from collections.abc import Callable

from hanabi.base.clock import Clock
from hanabi.contracts.sandbox import Sandbox
from hanabi.environment.shared import Closable
from hanabi.errors import SandboxError
from hanabi.runtime.api import RuntimeApi
from hanabi.runtime.channel import RuntimeChannel
from hanabi.runtime.extensions import Extensions
from hanabi.runtime.session import RuntimeSession


class RuntimeLink:
    """The link to one runtime, from its start to its end."""

    def __init__(self, sandbox: Sandbox, session: RuntimeSession) -> None:
        self.session = session
        self.channel: RuntimeChannel | None = None
        self._sandbox = sandbox
        self._api: Closable | None = None
        self._ended = False

    async def open(
        self,
        clock: Clock,
        credentials: Callable[[str], dict[str, str] | None],
        extensions: Callable[[], Extensions | None],
        *,
        channel: bool,
        bundled: bool,
    ) -> None:
        """Open the link. `channel`: a bootstrap uses the runtime channel; `bundled`: only that. Raises `SandboxError`, `OSError`."""
        api = RuntimeApi(self.session, bundled=bundled, credentials=credentials, extensions=extensions)
        listener = socket.socket(fileno=os.dup(self._sandbox.runtime_api.fileno()))  # the sandbox's own is there for the next one, too
        serving = await api.serve(listener, clock=clock)
        if self._ended:
            await serving.close()
            raise SandboxError(f"environment {self._sandbox.id} has gone")
        self._api = serving
        if channel:
            opened = await RuntimeChannel.open(self._sandbox.runtime, self.session, clock)
            if self._ended:
                opened.close()
                raise SandboxError(f"environment {self._sandbox.id} has gone")
            self.channel = opened

    def hang_up(self) -> None:
        """Stop reading. Idempotent, as `close`."""
        if not self._ended:
            self._ended = True
            if self.channel:
                self.channel.close()
            self.session.close()

    async def close(self) -> None:
        api, self._api = self._api, None
        if api:
            await api.close()
