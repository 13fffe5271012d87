"""A bootstrap as a real process: its channel is a socket pair, its log a pipe. No container, no host code."""

import json
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ARN = "arn:aws:lambda:us-east-1:000000000000:function:demo"
PATIENCE_S = 20.0


class Guest:
    """One running bootstrap."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.socket, inner = socket.socketpair()
        self.socket.settimeout(PATIENCE_S)
        self.log, write_end = os.pipe()
        fd = inner.fileno()
        # As the agent does it: the channel is descriptor 4, and there are few others.
        move = ["bash", "-c", f'exec "$@" 4<&{fd}' + (f" {fd}<&-" if fd != 4 else ""), "bash"]
        self.process = subprocess.Popen(
            [*move, *command],
            env={**environment, "HANABI_RUNTIME_FD": "4"},
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            pass_fds=(fd,),
        )
        inner.close()
        os.close(write_end)
        self.printed = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.close()
        os.close(self.log)

    def send(self, kind: bytes, body: bytes) -> None:
        self.socket.sendall(struct.pack("<I", len(body) + 1) + kind + body)

    def receive(self) -> tuple[bytes, bytes]:
        """(type, body) of the next frame; (b"", b"") at the end. Reads the log meanwhile, so that nobody waits for a full pipe."""
        length = self._read(4)
        if not length:
            return b"", b""
        frame = self._read(int.from_bytes(length, "little"))
        return frame[:1], frame[1:]

    def _read(self, size: int) -> bytes:
        sources: list[socket.socket | int] = [self.socket, self.log]
        parts, left = [], size
        while left:
            ready, _, _ = select.select(sources, [], [], PATIENCE_S)
            assert ready, "nothing came in time"
            if self.log in ready:
                self.drain()
            if self.socket in ready:
                try:
                    part = self.socket.recv(left)
                except ConnectionResetError:
                    part = b""
                if not part:
                    return b""
                parts.append(part)
                left -= len(part)
        return b"".join(parts)

    def drain(self) -> bytes:
        """All that has been printed so far."""
        while select.select([self.log], [], [], 0)[0]:
            data = os.read(self.log, 65536)
            if not data:
                break
            self.printed += data
        return self.printed

    def take_log(self) -> list[str]:
        """The lines printed since the last look."""
        lines = self.drain().decode().splitlines()
        self.printed = b""
        return [line for line in lines if line]

    def initialize(
        self, handler: str, task_root: Path, environment: Mapping[str, str] | None = None, *, generic: bool = True
    ) -> tuple[bytes, bytes]:
        """The answer to the init frame."""
        body = {"environment": dict(environment or {}), "handler": handler, "task_root": str(task_root), "generic": generic}
        self.send(b"i", json.dumps(body).encode())
        return self.receive()

    def invoke_raw(
        self,
        payload: bytes,
        *,
        request_id: str = "id-1",
        timeout_s: float = 3,
        trace: str = "",
        tenant: str = "",
        context: str = "",
        ready: bool = True,
    ) -> tuple[bytes, bytes]:
        """The answer; `ready`: and wait until it is ready for the next one."""
        self.send_invocation(payload, request_id=request_id, timeout_s=timeout_s, trace=trace, tenant=tenant, context=context)
        answer = self.receive()
        if ready and answer[0] in (b"o", b"f"):
            self.wait_until_ready()
        return answer

    def send_invocation(
        self, payload: bytes, *, request_id: str = "id-1", timeout_s: float = 3, trace: str = "", tenant: str = "", context: str = ""
    ) -> None:
        deadline_ms = int((time.time() + timeout_s) * 1000)
        header = f"{request_id}\n{deadline_ms}\n{ARN}\n{trace}\n{tenant}\n{context}".encode()
        self.send(b"n", struct.pack("<H", len(header)) + header + payload)

    def stream(self, event: Any = None) -> list[tuple[bytes, bytes]]:
        """All frames of an answer, with the one that says ready, or ends the process."""
        self.send_invocation(json.dumps(event).encode())
        frames = [self.receive()]
        while frames[-1][0] not in (b"r", b""):
            frames.append(self.receive())
        return frames

    def wait_until_ready(self) -> None:
        assert self.receive() == (b"r", b"")

    def invoke(self, event: Any = None, **more: Any) -> Any:
        """The result of a call that succeeds."""
        kind, body = self.invoke_raw(json.dumps(event).encode(), **more)
        assert kind == b"o", body
        return json.loads(body)

    def fail(self, event: Any = None, **more: Any) -> Any:
        """The error of a call that fails."""
        kind, body = self.invoke_raw(json.dumps(event).encode(), **more)
        assert kind == b"f", body
        return json.loads(body)

    def exit_status(self) -> int:
        assert self.receive() == (b"", b"")
        return self.process.wait(PATIENCE_S)
