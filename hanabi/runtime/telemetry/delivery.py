"""The delivery of batches to one subscriber inside an environment: a POST for each over HTTP, lines of JSON over TCP."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from hanabi.base.clock import Clock
from hanabi.errors import NotDelivered
from hanabi.runtime.telemetry.subscription import Subscription

Connect = Callable[[int], Awaitable[socket.socket]]
"""Connect to a port of the environment's loopback. Raises `OSError`, `SandboxError`."""

SEND_S = 5.0  # for a batch to be taken; a frozen environment is not counted, see `Delivery.send`
HEAD_MAX_BYTES = 16 * 1024


class Delivery:
    """Sends batches, one at a time. `is_frozen`: whether the environment cannot answer now."""

    def __init__(self, subscription: Subscription, connect: Connect, clock: Clock, is_frozen: Callable[[], bool]) -> None:
        self._subscription = subscription
        self._connect = connect
        self._clock = clock
        self._is_frozen = is_frozen
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, batch: Sequence[bytes]) -> None:
        """Send a batch. Raises `NotDelivered`."""
        try:
            if self._streams is None:
                sock = await self._connect(self._subscription.port)
                self._streams = await asyncio.open_connection(sock=sock, limit=HEAD_MAX_BYTES)
        except Exception as error:
            raise NotDelivered(f"no connection: {error}") from error
        reader, writer = self._streams
        expiry = _Expiry(self._clock, writer, self._is_frozen)
        try:
            await (self._send_lines(writer, batch) if self._subscription.protocol == "TCP" else self._post(reader, writer, batch))
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.close()
            raise NotDelivered(str(error)) from error
        except BaseException:
            self.close()
            raise
        finally:
            expiry.cancel()
        if self._subscription.protocol == "HTTP":
            self.close()  # a connection for each request: no server has it closed meanwhile

    async def _send_lines(self, writer: asyncio.StreamWriter, batch: Sequence[bytes]) -> None:
        writer.write(b"\n".join(batch) + b"\n")
        await writer.drain()

    async def _post(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, batch: Sequence[bytes]) -> None:
        subscription = self._subscription
        body = b"[" + b",".join(batch) + b"]"
        head = (
            f"{subscription.method} {subscription.target} HTTP/1.1\r\nHost: {subscription.host}:{subscription.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("ascii") + body)
        await writer.drain()
        status = await reader.readuntil(b"\n")
        parts = status.split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or len(parts[1].strip()) != 3 or parts[1][:1] != b"2":
            raise ValueError(f"the subscriber answered {status[:64]!r}")

    def close(self) -> None:
        """Hang up. Idempotent."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].transport.abort()


class _Expiry:
    """Aborts a connection that stands still for too long while the environment could answer."""

    def __init__(self, clock: Clock, writer: asyncio.StreamWriter, is_frozen: Callable[[], bool]) -> None:
        self._clock = clock
        self._writer = writer
        self._is_frozen = is_frozen
        self._timer = clock.call_later(SEND_S, self._expire)

    def _expire(self) -> None:
        if self._is_frozen():
            self._timer = self._clock.call_later(SEND_S, self._expire)
        else:
            self._writer.transport.abort()

    def cancel(self) -> None:
        self._timer.cancel()
